package api

import (
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A ServiceCIDR is a network, or one of each family, that ClusterIPs come from.
var serviceCIDRs = define(Kind{
	Versions:     []Version{version[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList](networkingv1.SchemeGroupVersion, "ServiceCIDR")},
	Resource:     "servicecidrs",
	Singular:     "servicecidr",
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("CIDRs", doc(networkingv1.ServiceCIDRSpec{}, "cidrs"),
			func(c *networkingv1.ServiceCIDR) string { return strings.Join(c.Spec.CIDRs, ",") }),
		ageColumn(),
	},
}, Rules[networkingv1.ServiceCIDR]{
	Status: func(c *networkingv1.ServiceCIDR) any { return &c.Status },
	Validate: func(c *networkingv1.ServiceCIDR) field.ErrorList {
		return validateCIDRs(&c.Spec, field.NewPath("spec", "cidrs"))
	},
	ValidateUpdate: validateServiceCIDRUpdate,
})

func validateCIDRs(spec *networkingv1.ServiceCIDRSpec, at *field.Path) field.ErrorList {
	cidrs := spec.CIDRs
	switch {
	case len(cidrs) == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case len(cidrs) > 2:
		return field.ErrorList{field.Invalid(at, spec, "may only hold up to 2 values")}
	}
	var errs field.ErrorList
	var families []bool // of those that are networks: is it IPv6
	for i, cidr := range cidrs {
		errs = append(errs, validation.IsValidCIDR(at.Index(i), cidr)...)
		if p, err := netip.ParsePrefix(cidr); err == nil {
			families = append(families, p.Addr().Is6())
		}
	}
	if len(families) == 2 && families[0] == families[1] {
		errs = append(errs, field.Invalid(at, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
	}
	return errs
}

// validateServiceCIDRUpdate: addresses are in use. All that may change is that the
// second family comes.
func validateServiceCIDRUpdate(c, old *networkingv1.ServiceCIDR) field.ErrorList {
	at := field.NewPath("spec", "cidrs")
	cidrs, before := c.Spec.CIDRs, old.Spec.CIDRs
	grown := len(before) == 1 && len(cidrs) == 2
	if len(cidrs) != len(before) && !grown {
		return field.ErrorList{field.Invalid(at, cidrs, apivalidation.FieldImmutableErrorMsg)}
	}
	var errs field.ErrorList
	for i, cidr := range before {
		if cidrs[i] != cidr {
			errs = append(errs, field.Invalid(at.Index(i), cidrs[i], apivalidation.FieldImmutableErrorMsg))
		}
	}
	if grown {
		errs = slices.Concat(errs, validateCIDRs(&c.Spec, at))
	}
	return errs
}
