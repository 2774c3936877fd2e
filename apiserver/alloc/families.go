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
	if !api.ServiceNeedsClusterIP(next) || settled(next, old) {
		return nil
	}
	bare := api.ServiceIsHeadless(next) && len(spec.Selector) == 0 // no selector: whoever writes its endpoints decides
	defaultPolicy(next, old, bare)
	before := old
	if before == nil {
		before = &corev1.Service{}
	}
	if errs := api.ServiceAddressErrors(next, before); len(errs) > 0 {
		return invalid(next, errs...)
	}
	errs := shrink(spec, &before.Spec)
	errs = append(errs, oneFamily(spec)...)
	errs = append(errs, a.infer(spec)...)
	if len(errs) == 0 && !bare {
		errs = a.configured(spec)
	}
	if len(errs) > 0 {
		return invalid(next, errs...)
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{a.ips[0].family}
	}
	if len(spec.IPFamilies) == 1 && *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && (bare || len(a.ips) == 2) {
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	}
	return nil
}

// settled: a Service that prefers two families neither gains nor loses one because the
// cluster has changed, only because its client says so.
func settled(next, old *corev1.Service) bool {
	prefers := func(s *corev1.Service) bool {
		return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack
	}
	return old != nil && prefers(next) && prefers(old) && next.Spec.Type == old.Spec.Type &&
		slices.Equal(next.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(next.Spec.IPFamilies, old.Spec.IPFamilies)
}

// defaultPolicy: what it was; two families for a bare headless Service; else one.
func defaultPolicy(next, old *corev1.Service, bare bool) {
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

// shrink drops the second family where the policy was changed to one, and nothing else
// of it. It takes the policy to drop one.
func shrink(spec, old *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	single := *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	refuse := func(what string) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *spec.IPFamilyPolicy,
			"must be 'SingleStack' to release the secondary "+what))
	}
	if n := len(spec.ClusterIPs); single && n > 1 && slices.Equal(spec.ClusterIPs, old.ClusterIPs) {
		spec.ClusterIPs = spec.ClusterIPs[:1]
	} else if !single && n > 0 && n < len(old.ClusterIPs) {
		refuse("cluster IP")
	}
	if n := len(spec.IPFamilies); single && n > 1 && slices.Equal(spec.IPFamilies, old.IPFamilies) {
		spec.IPFamilies = spec.IPFamilies[:1]
	} else if !single && n > 0 && n < len(old.IPFamilies) {
		refuse("IP family")
	}
	return errs
}

// oneFamily refuses two of anything where the policy is to have one.
func oneFamily(spec *corev1.ServiceSpec) field.ErrorList {
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		return nil
	}
	var errs field.ErrorList
	refuse := func(count int, what string) {
		if count == 2 {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *spec.IPFamilyPolicy,
				"must be 'RequireDualStack' or 'PreferDualStack' when multiple "+what+" are specified"))
		}
	}
	refuse(len(spec.ClusterIPs), "cluster IPs")
	refuse(len(spec.IPFamilies), "IP families")
	return errs
}

// infer adds the families of the addresses that the client asks for.
func (a *Allocator) infer(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range spec.ClusterIPs {
		addr, err := netip.ParseAddr(ip)
		if err != nil || i < len(spec.IPFamilies) { // "None", or said already
			continue
		}
		family := FamilyOf(addr)
		if !a.has(family) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), spec.ClusterIPs,
				fmt.Sprintf("%s is not configured on this cluster", family)))
			continue
		}
		spec.IPFamilies = append(spec.IPFamilies, family)
	}
	return errs
}

// configured refuses what the cluster has not.
func (a *Allocator) configured(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(a.ips) < 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy,
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
