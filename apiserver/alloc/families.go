package alloc

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
)

// families settles ipFamilyPolicy and ipFamilies: one family unless the client asks
// for two and the cluster has them.
func (a *Allocator) families(next, old *corev1.Service) error {
	spec := &next.Spec
	if !api.ServiceNeedsClusterIP(next) {
		return nil
	}
	bare := api.ServiceIsHeadless(next) && len(spec.Selector) == 0 // no selector: whoever writes its endpoints decides
	a.defaultPolicy(next, old, bare)
	policy := *spec.IPFamilyPolicy
	if policy == corev1.IPFamilyPolicySingleStack && old != nil {
		shrink(spec, &old.Spec)
	}
	for i, ip := range spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil && i >= len(spec.IPFamilies) {
			spec.IPFamilies = append(spec.IPFamilies, FamilyOf(addr))
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{a.ips[0].family}
	}
	if len(spec.IPFamilies) == 1 && policy != corev1.IPFamilyPolicySingleStack && (bare || len(a.ips) == 2) {
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	}
	if errs := a.checkFamilies(spec, bare); len(errs) > 0 {
		return invalid(next, errs...)
	}
	return nil
}

// defaultPolicy: what it was; two families for a bare headless Service; else one.
func (a *Allocator) defaultPolicy(next, old *corev1.Service, bare bool) {
	if next.Spec.IPFamilyPolicy != nil {
		return
	}
	policy := corev1.IPFamilyPolicySingleStack
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		policy = *old.Spec.IPFamilyPolicy
	case bare:
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	next.Spec.IPFamilyPolicy = &policy
}

// shrink drops the second family where only the policy was changed.
func shrink(spec, old *corev1.ServiceSpec) {
	if len(spec.ClusterIPs) == 2 && len(old.ClusterIPs) == 2 && spec.ClusterIPs[1] == old.ClusterIPs[1] {
		spec.ClusterIPs = spec.ClusterIPs[:1]
	}
	if len(spec.IPFamilies) == 2 && len(old.IPFamilies) == 2 {
		spec.IPFamilies = spec.IPFamilies[:1]
	}
}

func (a *Allocator) checkFamilies(spec *corev1.ServiceSpec, bare bool) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	policy := *spec.IPFamilyPolicy
	if policy == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) == 2 {
			errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), policy,
				"must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
		}
		if len(spec.IPFamilies) == 2 {
			errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), policy,
				"must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
		}
	}
	if bare {
		return errs
	}
	if policy == corev1.IPFamilyPolicyRequireDualStack && len(a.ips) < 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), policy,
			"this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		if !a.has(family) {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

// has says whether the cluster is configured for the family.
func (a *Allocator) has(family corev1.IPFamily) bool {
	return slices.ContainsFunc(a.ips, func(r IPRange) bool { return r.family == family })
}

func other(family corev1.IPFamily) corev1.IPFamily {
	if family == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// String names the ranges, for logs.
func (a *Allocator) String() string {
	s := "node ports " + a.ports.String()
	for _, r := range a.ips {
		s = fmt.Sprintf("%s, %s", r.prefix, s)
	}
	return s
}
