// Package plan decides what a load balancer in front of the nodes must do. It is pure:
// Services, Nodes and the results of health checks go in, and for each address and port
// out comes which nodes take its connections, and for each node why, or why not.
//
// Upstream counterpart: what a cloud's load balancer makes of the calls of the service
// controller (k8s.io/cloud-provider).
package plan

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Name identifies a Service.
type Name = types.NamespacedName

// Input is what is known of the world.
type Input struct {
	Pool     []netip.Prefix // addresses that are this balancer's
	Services []*corev1.Service
	Nodes    []*corev1.Node
	// NodePort is where every node says whether it takes connections at all:
	// kube-proxy's /healthz.
	NodePort uint16
	Health   func(Target) Health
}

// Target is what a health check asks: /healthz at a port of a node.
type Target = netip.AddrPort

// Health is what a health check has found out so far.
type Health struct {
	Known bool // false: nothing yet
	OK    bool
	Why   string // the last answer in words
}

// Plan is what must be true.
type Plan struct {
	Nodes     []Node
	Services  []Service
	Frontends map[Frontend]Group
}

// Node is a machine that connections can be sent to, by one of its addresses.
type Node struct {
	Name string
	Addr netip.Addr
}

// Service is one address of one Service.
type Service struct {
	Name  Name
	Addr  netip.Addr
	Ports []Frontend
	Uses  []Use
}

// Frontend is where clients connect to.
type Frontend struct {
	Addr     netip.Addr
	Protocol corev1.Protocol
	Port     uint16
}

// Use tells whether a node takes a Service's connections, and why.
type Use struct {
	Node   string
	Takes  bool
	Why    string
	Target Target // what was asked; invalid if nothing was
}

// Of makes the plan.
func Of(in Input) *Plan {
	p := &Plan{Frontends: map[Frontend]Group{}}
	nodes := slices.Clone(in.Nodes)
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range nodes {
		for _, addr := range addressesOfNode(n) {
			p.Nodes = append(p.Nodes, Node{n.Name, addr})
		}
	}
	services := slices.Clone(in.Services)
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	taken := map[netip.Addr]bool{}
	for _, svc := range services {
		for _, addr := range addressesOf(svc, in.Pool) {
			if !taken[addr] {
				taken[addr] = true
				p.add(svc, addr, nodes, in)
			}
		}
	}
	return p
}

// add plans one address of a Service.
func (p *Plan) add(svc *corev1.Service, addr netip.Addr, nodes []*corev1.Node, in Input) {
	s := Service{Name: Name{Namespace: svc.Namespace, Name: svc.Name}, Addr: addr}
	group := Group{ByClient: svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP}
	for _, n := range nodes {
		use := judge(svc, addr, n, in)
		if s.Uses = append(s.Uses, use); use.Takes {
			group.Nodes = append(group.Nodes, n.Name)
		}
	}
	for _, port := range svc.Spec.Ports {
		f := Frontend{addr, cmp.Or(port.Protocol, corev1.ProtocolTCP), uint16(port.Port)}
		s.Ports = append(s.Ports, f)
		if len(group.Nodes) > 0 {
			p.Frontends[f] = group
		}
	}
	p.Services = append(p.Services, s)
}

// Targets lists what must be asked for the plan to be true.
func (p *Plan) Targets() map[Target]bool {
	targets := map[Target]bool{}
	for _, s := range p.Services {
		for _, u := range s.Uses {
			if u.Target.IsValid() {
				targets[u.Target] = true
			}
		}
	}
	return targets
}

// Addresses lists the addresses that Services have.
func (p *Plan) Addresses() []netip.Addr {
	var addrs []netip.Addr
	for _, s := range p.Services {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// addressesOf are the addresses of a Service that are ours, and whose packets the nodes
// expect with the destination unchanged.
func addressesOf(svc *corev1.Service, pool []netip.Prefix) []netip.Addr {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var addrs []netip.Addr
	for _, in := range svc.Status.LoadBalancer.Ingress {
		addr, err := netip.ParseAddr(in.IP)
		ours := err == nil && slices.ContainsFunc(pool, func(p netip.Prefix) bool { return p.Contains(addr) })
		if ours && (in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
