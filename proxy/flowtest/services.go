package flowtest

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/proxy/plan"
)

// Here is the name of the node that the plans are for.
const Here = "node1"

// Tweak changes a Service under construction.
type Tweak func(*corev1.Service)

// Service makes a Service with one TCP port, p80.
func Service(ns, name, clusterIP string, tweaks ...Tweak) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: clusterIP,
			Ports: []corev1.ServicePort{{Name: "p80", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, t := range tweaks {
		t(svc)
	}
	return svc
}

// NodePort gives the Service that port on every node.
func NodePort(n int32) Tweak {
	return func(s *corev1.Service) {
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, n
	}
}

// LoadBalancer gives the Service load balancer addresses besides a NodePort.
func LoadBalancer(n int32, ips ...string) Tweak {
	return func(s *corev1.Service) {
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, n
		for _, ip := range ips {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
		}
	}
}

// ExternalIPs gives the Service more addresses.
func ExternalIPs(ips ...string) Tweak {
	return func(s *corev1.Service) { s.Spec.ExternalIPs = ips }
}

// Proxied makes the load balancer itself answer at its addresses: nodes leave them alone.
func Proxied(s *corev1.Service) {
	mode := corev1.LoadBalancerIPModeProxy
	for i := range s.Status.LoadBalancer.Ingress {
		s.Status.LoadBalancer.Ingress[i].IPMode = &mode
	}
}

// SourceRanges limits who may use the load balancer addresses.
func SourceRanges(ranges ...string) Tweak {
	return func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = ranges }
}

// ExternalLocal sets externalTrafficPolicy Local and a healthCheckNodePort.
func ExternalLocal(healthCheck int32) Tweak {
	return func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, healthCheck
	}
}

// InternalLocal sets internalTrafficPolicy Local.
func InternalLocal(s *corev1.Service) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	s.Spec.InternalTrafficPolicy = &local
}

// Affinity makes clients stay with their endpoint for so many seconds.
func Affinity(seconds int32) Tweak {
	return func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
}

// Protocol makes the port one of another protocol.
func Protocol(p corev1.Protocol) Tweak {
	return func(s *corev1.Service) { s.Spec.Ports[0].Protocol = p }
}

// Endpoint is an endpoint under construction: ready, unless it says otherwise.
type Endpoint struct {
	Addr, Node  string
	NotReady    bool
	Terminating bool   // and still serving, unless NotReady
	Zone        string // a hint that the zone's clients should use it
}

// Slice makes the EndpointSlice of a Service, with all its ports at one target port.
func Slice(svc *corev1.Service, port int32, endpoints ...Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if netip.MustParseAddr(svc.Spec.ClusterIP).Is6() {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, sp := range svc.Spec.Ports {
		name, protocol := sp.Name, sp.Protocol
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port, Protocol: &protocol})
	}
	for _, e := range endpoints {
		ready, serving, terminating := !e.NotReady && !e.Terminating, !e.NotReady, e.Terminating
		out := discoveryv1.Endpoint{Addresses: []string{e.Addr},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
		if e.Node != "" {
			out.NodeName = &e.Node
		}
		if e.Zone != "" {
			out.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: e.Zone}}}
		}
		s.Endpoints = append(s.Endpoints, out)
	}
	return s
}

// Planned is the plan of a Service with the given endpoints, seen from node1 in zone east.
func Planned(svc *corev1.Service, port int32, endpoints ...Endpoint) *plan.Service {
	node := plan.Node{Family: plan.IPv4, Name: Here, Zone: "east", IP: netip.MustParseAddr(NodeIP)}
	if netip.MustParseAddr(svc.Spec.ClusterIP).Is6() {
		node.Family = plan.IPv6
	}
	return plan.Of(svc, []*discoveryv1.EndpointSlice{Slice(svc, port, endpoints...)}, node)
}

// Pods are endpoints of the world: "ac" are the Pods a and c.
func Pods(names string) []Endpoint {
	var all []Endpoint
	for _, r := range names {
		node := Here
		if r == 'c' {
			node = "node2"
		}
		all = append(all, Endpoint{Addr: Addrs[string(r)], Node: node})
	}
	return all
}

// Snapshot puts plans together.
func Snapshot(services ...*plan.Service) plan.Snapshot {
	s := plan.Snapshot{Services: map[plan.Name]*plan.Service{}, Local: plan.Local{CIDR: netip.MustParsePrefix(PodCIDR)}}
	for _, svc := range services {
		s.Services[svc.Name] = svc
	}
	return s
}

// Many are n Services of k endpoints each, of the sort that benchmarks use.
func Many(n, k int) plan.Snapshot {
	var all []*plan.Service
	for i := range n {
		all = append(all, Planned(Numbered(i), Port, Endpoints(i, k)...))
	}
	return Snapshot(all...)
}

// Numbered is the i-th Service of Many.
func Numbered(i int) *corev1.Service {
	return Service("load", fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.%d.%d", 1+i/250, 1+i%250))
}

// Endpoints are k endpoints of the i-th Service of Many.
func Endpoints(i, k int) []Endpoint {
	var all []Endpoint
	for j := range k {
		n := i*k + j
		all = append(all, Endpoint{Addr: fmt.Sprintf("10.%d.%d.%d", 128+n/62500, n/250%250, n%250+1)})
	}
	return all
}

// Changes are what the sync loop hands to a backend between two snapshots.
func Changes(from, to plan.Snapshot) []plan.Change {
	var changes []plan.Change
	for name, svc := range to.Services {
		if from.Services[name] != svc {
			changes = append(changes, plan.Change{Old: from.Services[name], New: svc})
		}
	}
	for name, svc := range from.Services {
		if to.Services[name] == nil {
			changes = append(changes, plan.Change{Old: svc})
		}
	}
	return changes
}
