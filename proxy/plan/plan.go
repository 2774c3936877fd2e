// Package plan decides what the Service data plane of one node must do. It is pure:
// a Service, its EndpointSlices and what is known of the node go in, and for every
// port of the Service out comes which addresses are captured, which endpoints serve
// which traffic, and for each endpoint the reason why it is used or not.
//
// The backends (iptables, nftables, ipvs) turn a plan into rules and never see an API
// object. The plan of a Service depends on that Service alone, so a change of one
// Service costs the planning of one Service.
//
// Upstream counterparts: pkg/proxy/serviceport.go, endpointslicecache.go and
// topology.go of kubernetes/kubernetes.
//
// Kubernetes: upstream keeps change trackers that merge deltas. Here a Service is
// planned anew from the informers' stores whenever it or one of its slices changes.
package plan

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Family is the IP family a plan is made for. A dual-stack node has two plans.
type Family = corev1.IPFamily

// The two families.
const (
	IPv4 = corev1.IPv4Protocol
	IPv6 = corev1.IPv6Protocol
)

// Node is what planning needs to know of the node.
type Node struct {
	Family Family
	Name   string
	Zone   string     // its label topology.kubernetes.io/zone
	IP     netip.Addr // its InternalIP of the family; may be invalid
}

// Name identifies a Service.
type Name = types.NamespacedName

// PortName identifies one port of a Service.
type PortName struct {
	Name
	Port     string
	Protocol corev1.Protocol
}

// String is the name as chains, comments and logs spell it: "ns/svc:port".
func (n PortName) String() string {
	if n.Port == "" {
		return n.Name.String()
	}
	return n.Name.String() + ":" + n.Port
}

// Service is the plan of one Service.
type Service struct {
	Name Name
	// Skipped says why nothing is to be programmed. Ports is empty then.
	Skipped string
	Ports   []Port
	// Ignored lists what of the Service and its slices was left out, and why.
	Ignored []Ignored
	// HealthCheckNodePort is where a load balancer asks whether this node has local
	// endpoints (externalTrafficPolicy Local), or 0.
	HealthCheckNodePort uint16
	// LocalReady counts the distinct addresses of ready endpoints on this node.
	LocalReady int
}

// Ignored is a part of the input that has no effect.
type Ignored struct {
	What string // "slice web-x", "endpoint 10.244.1.9", "loadBalancerSourceRanges 10.0.0/8"
	Why  string
}

// Port is the plan of one port of a Service.
type Port struct {
	Name            PortName
	ClusterIP       netip.Addr
	Port            uint16
	NodePort        uint16 // 0: none
	ExternalIPs     []netip.Addr
	LoadBalancerIPs []netip.Addr
	// SourceRanges limit who may use LoadBalancerIPs; none means everybody.
	SourceRanges []netip.Prefix
	// NodeInSourceRanges tells that the node's own address is in SourceRanges. Its
	// connections to a load balancer address may carry that address as their source.
	NodeInSourceRanges bool
	// AffinitySeconds is how long a client stays with its endpoint, 0: not at all.
	AffinitySeconds int
	// InternalLocal and ExternalLocal are the traffic policies: only endpoints of this
	// node serve the ClusterIP, or the addresses that are reached from outside.
	InternalLocal, ExternalLocal bool
	HealthCheckNodePort          uint16
	// Endpoints are all endpoints of the port in the order of their address text.
	Endpoints []Endpoint
	// HasEndpoints tells that some endpoint somewhere can serve. Without one, traffic
	// is rejected; with one, but none that a Local policy allows, it is dropped.
	HasEndpoints bool
}

// Endpoint is one address that may serve a port.
type Endpoint struct {
	Addr netip.AddrPort
	// Ready, Serving and Terminating are the conditions with their defaults filled in.
	Ready, Serving, Terminating bool
	OnNode                      bool // on the node the plan is for
	Node, Zone                  string
	Target                      string // the Pod's name, if the slice tells
	HintNodes, HintZones        []string
	// Cluster and Local say whether traffic under that policy may go here.
	Cluster, Local Use
}

// ExternallyAccessible tells whether the port has addresses meant for other than
// cluster-internal clients.
func (p *Port) ExternallyAccessible() bool {
	return p.NodePort != 0 || len(p.LoadBalancerIPs) > 0 || len(p.ExternalIPs) > 0
}

// UsesCluster tells whether some traffic of the port may go to endpoints of any node.
// External traffic always may: Pods and the node itself take that way even where
// externalTrafficPolicy is Local.
func (p *Port) UsesCluster() bool { return !p.InternalLocal || p.ExternallyAccessible() }

// UsesLocal tells whether some traffic of the port stays on this node.
func (p *Port) UsesLocal() bool {
	return p.InternalLocal || p.ExternalLocal && p.ExternallyAccessible()
}

// ClusterEndpoints are the endpoints for traffic under the policy Cluster.
func (p *Port) ClusterEndpoints() []netip.AddrPort {
	return p.where(func(e *Endpoint) bool { return e.Cluster.Used() })
}

// LocalEndpoints are the endpoints for traffic under the policy Local.
func (p *Port) LocalEndpoints() []netip.AddrPort {
	return p.where(func(e *Endpoint) bool { return e.Local.Used() })
}

// Reachable are the endpoints for traffic under either policy.
func (p *Port) Reachable() []netip.AddrPort {
	return p.where(func(e *Endpoint) bool { return e.Cluster.Used() || e.Local.Used() })
}

// Serving are the endpoints that may go on serving established flows.
func (p *Port) Serving() []netip.AddrPort {
	return p.where(func(e *Endpoint) bool { return e.Serving })
}

func (p *Port) where(keep func(*Endpoint) bool) []netip.AddrPort {
	var addrs []netip.AddrPort
	for i := range p.Endpoints {
		if keep(&p.Endpoints[i]) {
			addrs = append(addrs, p.Endpoints[i].Addr)
		}
	}
	return addrs
}

// Change is the passage of one Service from one plan to the next. Old is nil for a
// new Service, New for one that is gone.
type Change struct {
	Old, New *Service
}
