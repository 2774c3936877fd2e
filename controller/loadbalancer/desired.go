package loadbalancer

import (
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Finalizer keeps a Service until its address is given back.
const Finalizer = "service.kubernetes.io/load-balancer-cleanup"

// toBeDeleted is the cluster autoscaler's announcement that a node will go.
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// wants tells whether a Service is to get its address from us: other classes are for
// other controllers.
func wants(s *corev1.Service, class string) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		(s.Spec.LoadBalancerClass == nil || class != "" && *s.Spec.LoadBalancerClass == class)
}

// needsCleanup tells whether a Service that had an address is to lose it.
func needsCleanup(s *corev1.Service, class string) bool {
	if !slices.Contains(s.Finalizers, Finalizer) {
		return false
	}
	return s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.DeletionTimestamp != nil && wants(s, class)
}

// relevant is what of a Service makes a cloud set up its load balancer again.
type relevant struct {
	uid    any
	spec   corev1.ServiceSpec
	ranges string
}

func relevantOf(s *corev1.Service) relevant {
	r := relevant{uid: s.UID, spec: corev1.ServiceSpec{
		Type: s.Spec.Type, Ports: s.Spec.Ports, LoadBalancerIP: s.Spec.LoadBalancerIP,
		LoadBalancerSourceRanges: s.Spec.LoadBalancerSourceRanges, ExternalIPs: s.Spec.ExternalIPs,
		SessionAffinity: s.Spec.SessionAffinity, SessionAffinityConfig: s.Spec.SessionAffinityConfig,
		ExternalTrafficPolicy: s.Spec.ExternalTrafficPolicy, HealthCheckNodePort: s.Spec.HealthCheckNodePort,
		IPFamilies: s.Spec.IPFamilies,
	}}
	r.ranges = s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	return r
}

func (r relevant) equal(other relevant) bool {
	return r.uid == other.uid && r.ranges == other.ranges && equality.Semantic.DeepEqual(r.spec, other.spec)
}

// statusOf is the status of a Service that has these addresses. Packets to them reach
// the nodes as they are, so the mode is VIP.
func statusOf(s *corev1.Service, addrs []netip.Addr) corev1.LoadBalancerStatus {
	mode := corev1.LoadBalancerIPModeVIP
	var ports []corev1.PortStatus
	for _, p := range s.Spec.Ports {
		ports = append(ports, corev1.PortStatus{Port: p.Port, Protocol: p.Protocol})
	}
	var status corev1.LoadBalancerStatus
	for _, a := range addrs {
		status.Ingress = append(status.Ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode, Ports: ports})
	}
	return status
}

// addressesOf are the addresses in the status of a Service.
func addressesOf(s *corev1.Service) []netip.Addr {
	var addrs []netip.Addr
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// familiesOf are the Service's IP families.
func familiesOf(s *corev1.Service) []corev1.IPFamily {
	if len(s.Spec.IPFamilies) == 0 {
		return []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return s.Spec.IPFamilies
}

// withFinalizer is the Service as it should be while it has an address.
func withFinalizer(s *corev1.Service) *corev1.Service {
	next := s.DeepCopy()
	if !slices.Contains(next.Finalizers, Finalizer) {
		next.Finalizers = append(next.Finalizers, Finalizer)
	}
	return next
}

// cleanedUp is the Service as it should be when it has none any more.
func cleanedUp(s *corev1.Service) *corev1.Service {
	next := s.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == Finalizer })
	next.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	return next
}

// takesPart tells whether a load balancer may send connections to a node. Whether the
// node is ready is not asked: that is what the balancer's health checks find out.
func takesPart(n *corev1.Node) bool {
	if excluded, ok := n.Labels[corev1.LabelNodeExcludeBalancers]; ok {
		if exclude, err := strconv.ParseBool(excluded); err != nil || exclude {
			return false
		}
	}
	return n.DeletionTimestamp == nil &&
		!slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == toBeDeleted })
}
