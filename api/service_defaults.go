package api

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	fill(&spec.Type, corev1.ServiceTypeClusterIP)
	defaultSessionAffinity(spec)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		fill(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyAccessible(s) {
		fill(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	switch spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		set(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		set(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range s.Status.LoadBalancer.Ingress {
			if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				set(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

func defaultSessionAffinity(spec *corev1.ServiceSpec) {
	fill(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		set(&spec.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		set(&spec.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		set(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
}

// prepareServiceUpdate keeps what was allocated and drops what the new type has no
// use for, so that a client can apply the same short manifest again and again, and
// can change the type without cleaning up after the old one.
func prepareServiceUpdate(s, old *corev1.Service) {
	keepAllocated(s, old)
	syncClusterIPs(s, old)
	dropUnneeded(s, old)
}

// dropUnneeded clears the fields that only the old type needed, unless the client
// changed them: then validation should complain.
func dropUnneeded(s, old *corev1.Service) {
	spec, was := &s.Spec, &old.Spec
	if ServiceNeedsClusterIP(old) && !ServiceNeedsClusterIP(s) {
		if spec.ClusterIP == was.ClusterIP && sameClusterIPs(spec, was) {
			spec.ClusterIP, spec.ClusterIPs = "", nil
		}
		if slices.Equal(spec.IPFamilies, was.IPFamilies) {
			spec.IPFamilies = nil
		}
		if policyOf(s) == policyOf(old) {
			spec.IPFamilyPolicy = nil
		}
	}
	if mayHaveNodePorts(old) && !mayHaveNodePorts(s) && !asksForNodePorts(spec, was) {
		for i := range spec.Ports {
			spec.Ports[i].NodePort = 0
		}
	}
	if ServiceNeedsHealthCheckNodePort(old) && !ServiceNeedsHealthCheckNodePort(s) && spec.HealthCheckNodePort == was.HealthCheckNodePort {
		spec.HealthCheckNodePort = 0
	}
	if externallyAccessible(old) && !externallyAccessible(s) && spec.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		spec.ExternalTrafficPolicy = ""
	}
	if was.Type == corev1.ServiceTypeLoadBalancer && spec.Type != corev1.ServiceTypeLoadBalancer {
		if samePointer(spec.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			spec.AllocateLoadBalancerNodePorts = nil
		}
		if samePointer(spec.LoadBalancerClass, was.LoadBalancerClass) {
			spec.LoadBalancerClass = nil
		}
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer { // whoever balanced takes its time to stop; nobody need see that
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

// externallyAccessible tells that traffic from outside the cluster may arrive.
func externallyAccessible(s *corev1.Service) bool {
	return mayHaveNodePorts(s) || s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

// samePointer compares what two pointers point to.
func samePointer[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
