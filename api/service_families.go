package api

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ServiceIPFamilies decides ipFamilyPolicy and ipFamilies for a cluster with the given
// families, the default one first. It goes before the allocation of clusterIPs: every
// entry of ipFamilies then needs one.
func ServiceIPFamilies(s, old *corev1.Service, cluster []corev1.IPFamily) field.ErrorList {
	if !ServiceNeedsClusterIP(s) || keepsPreferDualStack(s, old) {
		return nil
	}
	selectorless := s.Spec.ClusterIP == corev1.ClusterIPNone && len(s.Spec.Selector) == 0
	switch {
	case s.Spec.IPFamilyPolicy != nil:
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		s.Spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
	case selectorless:
		set(&s.Spec.IPFamilyPolicy, corev1.IPFamilyPolicyRequireDualStack)
	default:
		set(&s.Spec.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
	}
	if errs := validateClusterIPs(s); len(errs) > 0 {
		return errs
	}
	if old != nil {
		releaseSecondFamily(s, old)
	}
	errs := validateFamilyPolicy(s, old)
	errs = append(errs, inferFamilies(s, cluster)...)
	if len(errs) > 0 {
		return errs
	}
	if !selectorless {
		if errs := familiesConfigured(s, cluster); len(errs) > 0 {
			return errs
		}
	}
	addFamilies(s, cluster, selectorless)
	return nil
}

// keepsPreferDualStack: a Service that merely prefers two families keeps what it has
// when the cluster's families change, until somebody edits these fields.
func keepsPreferDualStack(s, old *corev1.Service) bool {
	return old != nil && policyOf(s) == corev1.IPFamilyPolicyPreferDualStack && policyOf(old) == corev1.IPFamilyPolicyPreferDualStack &&
		sameClusterIPs(&s.Spec, &old.Spec) && sameIPFamilies(&s.Spec, &old.Spec)
}

// releaseSecondFamily: setting the policy to SingleStack is enough to say so.
func releaseSecondFamily(s, old *corev1.Service) {
	if policyOf(s) != corev1.IPFamilyPolicySingleStack {
		return
	}
	if sameClusterIPs(&s.Spec, &old.Spec) && len(s.Spec.ClusterIPs) > 1 {
		s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1]
	}
	if sameIPFamilies(&s.Spec, &old.Spec) && len(s.Spec.IPFamilies) > 1 {
		s.Spec.IPFamilies = s.Spec.IPFamilies[:1]
	}
}

// inferFamilies takes the families of addresses that the client chose.
func inferFamilies(s *corev1.Service, cluster []corev1.IPFamily) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range s.Spec.ClusterIPs {
		if ip == corev1.ClusterIPNone || i < len(s.Spec.IPFamilies) {
			continue
		}
		family := familyOf(ip)
		if !slices.Contains(cluster, family) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), s.Spec.ClusterIPs,
				fmt.Sprintf("%s is not configured on this cluster", family)))
			continue
		}
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
	}
	return errs
}

func validateFamilyPolicy(s, old *corev1.Service) field.ErrorList {
	var wrong []string
	spec := &s.Spec
	if policyOf(s) == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) == 2 {
			wrong = append(wrong, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
		}
		if len(spec.IPFamilies) == 2 {
			wrong = append(wrong, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
		}
	} else if old != nil {
		if len(spec.ClusterIPs) > 0 && len(spec.ClusterIPs) < len(old.Spec.ClusterIPs) {
			wrong = append(wrong, "must be 'SingleStack' to release the secondary cluster IP")
		}
		if len(spec.IPFamilies) > 0 && len(spec.IPFamilies) < len(old.Spec.IPFamilies) {
			wrong = append(wrong, "must be 'SingleStack' to release the secondary IP family")
		}
	}
	return invalid(field.NewPath("spec", "ipFamilyPolicy"), spec.IPFamilyPolicy, wrong)
}

func familiesConfigured(s *corev1.Service, cluster []corev1.IPFamily) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if policyOf(s) == corev1.IPFamilyPolicyRequireDualStack && len(cluster) < 2 {
		errs = append(errs, field.Invalid(spec.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range s.Spec.IPFamilies {
		if !slices.Contains(cluster, family) {
			errs = append(errs, field.Invalid(spec.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

// addFamilies completes the list. A Service whose endpoints somebody else provides
// (headless, no selector) may have families the cluster itself has not.
func addFamilies(s *corev1.Service, cluster []corev1.IPFamily, selectorless bool) {
	if len(s.Spec.IPFamilies) == 0 {
		s.Spec.IPFamilies = []corev1.IPFamily{cluster[0]}
	}
	dual := policyOf(s) != corev1.IPFamilyPolicySingleStack && (selectorless || len(cluster) == 2)
	if !dual || len(s.Spec.IPFamilies) != 1 {
		return
	}
	other := corev1.IPv6Protocol
	if s.Spec.IPFamilies[0] == corev1.IPv6Protocol {
		other = corev1.IPv4Protocol
	}
	s.Spec.IPFamilies = append(s.Spec.IPFamilies, other)
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
