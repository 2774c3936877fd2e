package api

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// What a Service needs of the cluster's ranges. The API server allocates and releases,
// and settles the IP families, between PrepareForCreate (or PrepareForUpdate) and the
// check; here is only what is needed and what is kept.

// ServiceNeedsClusterIP tells whether the type has a clusterIP at all. It may be "None".
func ServiceNeedsClusterIP(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName
}

// ServiceIsHeadless tells that the client asked for no clusterIP.
func ServiceIsHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// ServiceNeedsNodePort tells whether every port needs a port on every node.
func ServiceNeedsNodePort(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

// ServiceNeedsHealthCheckNodePort tells whether a load balancer asks each node, on a
// port of its own, whether it has local endpoints.
func ServiceNeedsHealthCheckNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func mayHaveNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// keepAllocated fills in allocated values that the client left out of an update.
func keepAllocated(s, old *corev1.Service) {
	if ServiceNeedsClusterIP(old) && ServiceNeedsClusterIP(s) {
		fill(&s.Spec.ClusterIP, old.Spec.ClusterIP)
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if ServiceNeedsNodePort(old) && ServiceNeedsNodePort(s) {
		keepNodePorts(s, old)
	}
	if ServiceNeedsHealthCheckNodePort(old) && ServiceNeedsHealthCheckNodePort(s) {
		fill(&s.Spec.HealthCheckNodePort, old.Spec.HealthCheckNodePort)
	}
}

// keepNodePorts finds a port's former node port by the port's name, unless the client
// has given that one to another port.
func keepNodePorts(s, old *corev1.Service) {
	taken, byName := sets.New[int32](), map[string]int32{}
	for _, p := range s.Spec.Ports {
		taken.Insert(p.NodePort)
	}
	for _, p := range old.Spec.Ports {
		byName[p.Name] = p.NodePort
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if former := byName[p.Name]; p.NodePort == 0 && !taken.Has(former) {
			p.NodePort = former
		}
	}
}

// syncClusterIPs makes clusterIPs follow clusterIP where a client, maybe one that
// knows only the older field, set or cleared just that one.
func syncClusterIPs(s, old *corev1.Service) {
	spec := &s.Spec
	changed := old == nil && len(spec.ClusterIPs) == 0 ||
		old != nil && spec.ClusterIP != old.Spec.ClusterIP && sameClusterIPs(spec, &old.Spec)
	switch {
	case !changed:
	case spec.ClusterIP == "":
		spec.ClusterIPs = nil
	default:
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

func sameClusterIPs(a, b *corev1.ServiceSpec) bool { return slices.Equal(a.ClusterIPs, b.ClusterIPs) }

// asksForNodePorts says whether the client wants node ports that the Service did not
// have. It may have reordered the ports, or taken some away.
func asksForNodePorts(spec, was *corev1.ServiceSpec) bool {
	had := sets.New[int32](0)
	for _, p := range was.Ports {
		had.Insert(p.NodePort)
	}
	return slices.ContainsFunc(spec.Ports, func(p corev1.ServicePort) bool { return !had.Has(p.NodePort) })
}

func policyOf(s *corev1.Service) corev1.IPFamilyPolicy {
	if s.Spec.IPFamilyPolicy == nil {
		return ""
	}
	return *s.Spec.IPFamilyPolicy
}

func familyOf(ip string) corev1.IPFamily {
	if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
