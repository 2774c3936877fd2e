// Package trace answers "what becomes of this packet, and why" for a cluster as its API
// describes it: who sends it, what its destination means, which node's rules it meets,
// which endpoints that node may use and why not the others, and the way through the
// rules, one by one.
//
// It is pure. In go API objects and a Question, out comes a Trace. The rules are those
// that the node's service proxy makes of the same objects (proxy/plan, then a backend's
// model), the way through them is proxy/packet's. So it tells what should be in the
// kernel; whether it is there, the proxy itself sees to and tests prove.
//
// Upstream has no counterpart. Left out: what conntrack knows of earlier packets, and
// rules that others than the proxy have made.
package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/ipvs"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/packet"
	"orrery.example.org/proxy/plan"
)

// Cluster is what the API knows.
type Cluster struct {
	Services []*corev1.Service
	Slices   []*discoveryv1.EndpointSlice
	Pods     []*corev1.Pod
	Nodes    []*corev1.Node
}

// Question is a packet to be.
type Question struct {
	From     string // pod/NAME, pod/NAMESPACE/NAME, node/NAME, or an address outside of the cluster (two with a comma between them, if it has one of each family)
	To       string // service/NAME[:PORT], service/NAMESPACE/NAME[:PORT], pod/…:PORT, node/NAME:PORT, or ADDRESS:PORT
	Protocol string // tcp, udp, sctp; "" for that of the Service, or else tcp
	At       string // whose rules a packet from outside meets; "" for those of the node that it is sent to
	// Forwards are what a load balancer does with packets from outside.
	Forwards []Forward
	// Namespace is meant where From and To name none.
	Namespace string
	// Modes are the proxy modes of nodes, where Settings says none.
	Modes    map[string]string
	Settings Settings
}

// Settings are the service proxy's, as far as they matter.
type Settings struct {
	Mode          string         // iptables, nftables or ipvs
	Scheduler     string         // of ipvs; "": rr
	ClusterCIDRs  []netip.Prefix // at most one of each family
	ServiceCIDRs  []netip.Prefix
	MasqueradeAll bool
	MasqueradeBit int
	PodInterface  string // by which packets of Pods arrive
	Interface     string // by which all others do
}

// Trace is the answer.
type Trace struct {
	From, To Place
	Node     string     // whose rules are asked; "" if the packet meets none
	Mode     string     // of its proxy
	Port     *plan.Port // the Service's port as the node sees it; nil if To is no Service
	Via      *Forward   // what a load balancer did before; nil if none takes part
	Result   packet.Result
	names    map[netip.Addr]string // of Pods and nodes
	near     string                // what is nearly what was asked for
	nowhere  bool                  // the destination is in the network of the Services
}

// Place is an end of the packet's way.
type Place struct {
	Addr netip.Addr
	Port uint16
	Is   string // "Pod default/web on node1", "the ClusterIP of default/web:http"
}

// Run answers a question.
func Run(c Cluster, q Question) (Trace, error) {
	r := resolver{Cluster: c, question: q}
	from, err := r.sender()
	if err != nil {
		return Trace{}, err
	}
	to, protocol, err := r.destination(from)
	if err != nil {
		return Trace{}, err
	}
	from = from.like(to.Addr)
	p := r.packet(from, to, protocol)
	t := Trace{From: from.Place, To: to, names: r.names(), Result: packet.Result{Packet: p}}
	if from.node == nil && q.At == "" {
		if t.Via = r.forward(to, protocol); t.Via != nil && len(t.Via.Nodes) == 0 {
			t.To.Is = "an address of the load balancer"
			return t, nil
		}
	}
	node, err := r.meets(from, to, t.Via)
	if err != nil {
		return Trace{}, err
	}
	q.Settings.Mode = cmp.Or(q.Settings.Mode, q.Modes[node.Name], ModeIPTables)
	r.question = q
	family := plan.IPv4
	if p.Source.Is6() {
		family = plan.IPv6
	}
	snapshot := r.snapshot(node, family)
	t.Node, t.Mode = node.Name, q.Settings.Mode
	t.Port, t.To.Is = find(snapshot, p, addressesOf(node), to.Is)
	t.nowhere = ofFamily(q.Settings.ServiceCIDRs, family).Contains(to.Addr)
	if t.Port == nil {
		t.near = r.near(to.Addr)
	}
	place := packet.Node{Addrs: addressesOf(node), RouteLocalnet: q.Settings.Mode == ModeIPTables}
	if q.Settings.PodInterface != "" {
		place.Bridges = []string{q.Settings.PodInterface}
	}
	rules, err := q.Settings.rules(family, snapshot, place)
	if err != nil {
		return t, err
	}
	if v, ok := rules.(*packet.IPVS); ok && p.In == "" && slices.Contains(v.Own(), p.Destination.Addr()) {
		p.Source = p.Destination.Addr() // what one sends to oneself has one address
	}
	t.Result, err = packet.Walk(rules, place, p)
	return t, err
}

// The modes that can be followed.
const (
	ModeIPTables = "iptables"
	ModeNFTables = "nftables"
	ModeIPVS     = "ipvs"
)

// rules are what the node's proxy makes of a plan.
func (s *Settings) rules(family plan.Family, snapshot plan.Snapshot, place packet.Node) (packet.Rules, error) {
	switch s.Mode {
	case ModeIPTables:
		return packet.NewIPTables(iptables.Settings{
			Family: family, MasqueradeAll: s.MasqueradeAll, MasqueradeBit: s.MasqueradeBit, Local: snapshot.Local,
			RandomFully: true, LocalhostPort: true, NodePortIPs: snapshot.NodePortIPs,
		}, snapshot.All()), nil
	case ModeNFTables:
		return packet.NewNFTables(nftables.Settings{
			Family: family, MasqueradeAll: s.MasqueradeAll, MasqueradeBit: s.MasqueradeBit, ServiceCIDR: ofFamily(s.ServiceCIDRs, family),
		}, snapshot, place)
	case ModeIPVS:
		return packet.NewIPVS(ipvs.Settings{
			Family: family, Scheduler: s.Scheduler, MasqueradeAll: s.MasqueradeAll, MasqueradeBit: s.MasqueradeBit,
		}, snapshot, place), nil
	}
	return nil, fmt.Errorf("the proxy mode %q cannot be traced; %s, %s and %s can", s.Mode, ModeIPTables, ModeNFTables, ModeIPVS)
}

// ofFamily is the network of that family, invalid if there is none.
func ofFamily(cidrs []netip.Prefix, family plan.Family) netip.Prefix {
	for _, c := range cidrs {
		if c.Addr().Is4() == (family == plan.IPv4) {
			return c
		}
	}
	return netip.Prefix{}
}

// snapshot is the plan of the node's proxy.
func (r *resolver) snapshot(node *corev1.Node, family plan.Family) plan.Snapshot {
	at := plan.Node{Family: family, Name: node.Name, Zone: node.Labels[corev1.LabelTopologyZone]}
	for _, a := range addressesOf(node) {
		if a.Is4() == (family == plan.IPv4) {
			at.IP = a
			break
		}
	}
	of := map[plan.Name][]*discoveryv1.EndpointSlice{}
	for _, s := range r.Slices {
		name := plan.Name{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		of[name] = append(of[name], s)
	}
	s := plan.Snapshot{Services: map[plan.Name]*plan.Service{}}
	s.Local.CIDR = ofFamily(r.question.Settings.ClusterCIDRs, family)
	if r.question.Settings.Mode == ModeNFTables { // there NodePorts answer on the primary address alone (P31)
		s.NodePortIPs = []netip.Addr{at.IP}
	}
	for _, svc := range r.Services {
		name := plan.Name{Namespace: svc.Namespace, Name: svc.Name}
		s.Services[name] = plan.Of(svc, of[name], at)
	}
	return s
}

// find tells which port of a Service a packet is for, and what the address is to it.
func find(s plan.Snapshot, p packet.Packet, own []netip.Addr, is string) (*plan.Port, string) {
	for svc := range s.All() {
		for i := range svc.Ports {
			port := &svc.Ports[i]
			if protocolName(port.Name.Protocol) != p.Protocol {
				continue
			}
			if role := roleOf(port, p.Destination, own); role != "" {
				return port, fmt.Sprintf("%s of %s", role, port.Name)
			}
		}
	}
	return nil, is
}

// roleOf is what an address is to a port, "" if nothing.
func roleOf(p *plan.Port, to netip.AddrPort, own []netip.Addr) string {
	switch addr := to.Addr(); {
	case to.Port() == p.Port && addr == p.ClusterIP:
		return "the ClusterIP"
	case to.Port() == p.Port && slices.Contains(p.ExternalIPs, addr):
		return "an externalIP"
	case to.Port() == p.Port && slices.Contains(p.LoadBalancerIPs, addr):
		return "the load balancer's address"
	case p.NodePort != 0 && to.Port() == p.NodePort && (addr.IsLoopback() || slices.Contains(own, addr)):
		return "the NodePort"
	}
	return ""
}
