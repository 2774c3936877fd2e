package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateLoadBalancerFields checks what only a load balancer has.
func validateLoadBalancerFields(s, old *corev1.Service, at *field.Path) field.ErrorList {
	const only = "may only be used when `type` is 'LoadBalancer'"
	var errs field.ErrorList
	spec, balanced := &s.Spec, s.Spec.Type == corev1.ServiceTypeLoadBalancer
	forbid := func(used bool, at *field.Path) {
		if used && !balanced {
			errs = append(errs, field.Forbidden(at, only))
		}
	}
	annotated, hasAnnotation := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if ranges := spec.LoadBalancerSourceRanges; len(ranges) > 0 {
		at := at.Child("LoadBalancerSourceRanges") // upstream's spelling
		forbid(true, at)
		var before []string
		for _, value := range old.Spec.LoadBalancerSourceRanges {
			before = append(before, strings.TrimSpace(value))
		}
		for i, value := range ranges {
			errs = append(errs, cidr(strings.TrimSpace(value), at.Index(i), before...)...)
		}
	} else if hasAnnotation {
		at := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
		forbid(true, at)
		same := annotated == old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
		if annotated = strings.TrimSpace(annotated); annotated != "" && !same {
			for value := range strings.SplitSeq(annotated, ",") {
				errs = append(errs, cidr(strings.TrimSpace(value), at)...)
			}
		}
	}
	forbid(spec.AllocateLoadBalancerNodePorts != nil, at.Child("allocateLoadBalancerNodePorts"))
	forbid(spec.LoadBalancerClass != nil, at.Child("loadBalancerClass"))
	if balanced && spec.LoadBalancerClass != nil {
		errs = append(errs, qualifiedName(*spec.LoadBalancerClass, at.Child("loadBalancerClass"))...)
	}
	return errs
}

func validateTrafficPolicies(s *corev1.Service, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &s.Spec
	if external := at.Child("externalTrafficPolicy"); externallyAccessible(s) {
		errs = append(errs, oneOf(spec.ExternalTrafficPolicy, external,
			corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	} else if spec.ExternalTrafficPolicy != "" {
		errs = append(errs, field.Invalid(external, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	if health := at.Child("healthCheckNodePort"); ServiceNeedsHealthCheckNodePort(s) {
		errs = append(errs, portNumber(spec.HealthCheckNodePort, health)...)
	} else if spec.HealthCheckNodePort != 0 {
		errs = append(errs, field.Invalid(health, spec.HealthCheckNodePort,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	if p := spec.InternalTrafficPolicy; p != nil {
		errs = append(errs, supported(*p, at.Child("internalTrafficPolicy"),
			corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	}
	if d := spec.TrafficDistribution; d != nil {
		errs = append(errs, supported(*d, at.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}

// validateServiceUpdate: addresses and families may be added or, the second one,
// given back, but never exchanged, except on the way from or to ExternalName.
func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	if ServiceNeedsClusterIP(s) && ServiceNeedsClusterIP(old) {
		if !ServiceIsHeadless(s) || !ServiceIsHeadless(old) {
			errs = append(errs, onlySecondChanges(s.Spec.ClusterIPs, old.Spec.ClusterIPs, policyOf(s),
				at, "clusterIPs", "clusterIP")...)
		}
		if !ServiceIsHeadless(s) && !ServiceIsHeadless(old) {
			errs = append(errs, onlySecondChanges(s.Spec.IPFamilies, old.Spec.IPFamilies, policyOf(s),
				at, "ipFamilies", "ipFamily")...)
		}
	}
	class, was := s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == s.Spec.Type && !samePointer(class, was) {
		errs = append(errs, field.Invalid(at.Child("loadBalancerClass"), class, "may not change once set"))
	}
	if ServiceNeedsHealthCheckNodePort(s) && ServiceNeedsHealthCheckNodePort(old) &&
		s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(at.Child("healthCheckNodePort"), "field is immutable"))
	}
	return append(errs, validateServiceOver(s, old)...)
}

// onlySecondChanges holds for clusterIPs and for ipFamilies.
func onlySecondChanges[T comparable](now, old []T, policy corev1.IPFamilyPolicy, at *field.Path, plural, singular string) field.ErrorList {
	var errs field.ErrorList
	changed := func(i int) {
		errs = append(errs, field.Invalid(at.Child(plural).Index(i), now, "may not change once set"))
	}
	switch {
	case len(now) == len(old):
		for i := range old {
			if now[i] != old[i] {
				changed(i)
			}
		}
	case len(now) == 0:
		errs = append(errs, field.Invalid(at.Child(plural).Index(0), now, "primary "+singular+" can not be unset"))
	default:
		if len(old) > 0 && now[0] != old[0] {
			changed(0)
		}
		if len(now) < len(old) && policy != corev1.IPFamilyPolicySingleStack {
			errs = append(errs, field.Invalid(at.Child("ipFamilyPolicy"), policy,
				"must be set to 'SingleStack' when releasing the secondary "+singular))
		}
	}
	return errs
}
