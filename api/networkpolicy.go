package api

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var networkPolicies = define(Kind{
	Versions:     []Version{version[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](networkingv1.SchemeGroupVersion, "NetworkPolicy")},
	Resource:     "networkpolicies",
	Singular:     "networkpolicy",
	ShortNames:   []string{"netpol"},
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Pod-Selector", doc(networkingv1.NetworkPolicySpec{}, "podSelector"),
			func(p *networkingv1.NetworkPolicy) string { return metav1.FormatLabelSelector(&p.Spec.PodSelector) }),
		ageColumn(),
	},
}, Rules[networkingv1.NetworkPolicy]{
	Spec:           func(p *networkingv1.NetworkPolicy) any { return &p.Spec },
	Default:        defaultNetworkPolicy,
	Validate:       func(p *networkingv1.NetworkPolicy) field.ErrorList { return validateNetworkPolicy(p, nil) },
	ValidateUpdate: validateNetworkPolicy,
	Warnings: func(p, _ *networkingv1.NetworkPolicy) []string {
		var w []string
		eachIPBlock(p, func(b *networkingv1.IPBlock, at *field.Path) {
			w = append(w, cidrWarnings(b.CIDR, at.Child("cidr"))...)
			for i, except := range b.Except {
				w = append(w, cidrWarnings(except, at.Child("except").Index(i))...)
			}
		})
		return w
	},
})

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	eachPolicyRule(p, func(ports []networkingv1.NetworkPolicyPort, _ []networkingv1.NetworkPolicyPeer, _ *field.Path, _ string) {
		for i := range ports {
			set(&ports[i].Protocol, corev1.ProtocolTCP)
		}
	})
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

// eachPolicyRule walks the rules of both directions, which differ only in what they
// call their peers.
func eachPolicyRule(p *networkingv1.NetworkPolicy, do func(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, at *field.Path, side string)) {
	at := field.NewPath("spec")
	for i, r := range p.Spec.Ingress {
		do(r.Ports, r.From, at.Child("ingress").Index(i), "from")
	}
	for i, r := range p.Spec.Egress {
		do(r.Ports, r.To, at.Child("egress").Index(i), "to")
	}
}

func eachIPBlock(p *networkingv1.NetworkPolicy, do func(*networkingv1.IPBlock, *field.Path)) {
	eachPolicyRule(p, func(_ []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, at *field.Path, side string) {
		for i, peer := range peers {
			if peer.IPBlock != nil {
				do(peer.IPBlock, at.Child(side).Index(i).Child("ipBlock"))
			}
		}
	})
}

// validateNetworkPolicy lets networks stay as they were stored, and labels that only
// older servers took.
func validateNetworkPolicy(p, old *networkingv1.NetworkPolicy) field.ErrorList {
	var before []string
	var o metavalidation.LabelSelectorValidationOptions
	if old != nil {
		eachIPBlock(old, func(b *networkingv1.IPBlock, _ *field.Path) {
			before = append(append(before, b.CIDR), b.Except...)
		})
		o.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(&old.Spec.PodSelector, o, nil)) > 0
	}
	spec, at := &p.Spec, field.NewPath("spec")
	errs := metavalidation.ValidateLabelSelector(&spec.PodSelector, o, at.Child("podSelector"))
	eachPolicyRule(p, func(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, at *field.Path, side string) {
		for i := range ports {
			errs = append(errs, validatePolicyPort(&ports[i], at.Child("ports").Index(i))...)
		}
		for i := range peers {
			errs = append(errs, validatePolicyPeer(&peers[i], before, o, at.Child(side).Index(i))...)
		}
	})
	at = at.Child("policyTypes")
	if len(spec.PolicyTypes) > 2 {
		return append(errs, field.Invalid(at, &spec.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			errs = append(errs, field.NotSupported(at.Index(i), t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}))
		}
	}
	return errs
}

func validatePolicyPort(p *networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	errs := supported(*p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	end := func(why string) {
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(at.Child("endPort"), *p.EndPort, why))
		}
	}
	switch {
	case p.Port == nil:
		end("may not be specified when `port` is not specified")
		return errs
	case p.Port.Type == intstr.String:
		end("may not be specified when `port` is non-numeric")
		return append(errs, invalid(at.Child("port"), p.Port.StrVal, validation.IsValidPortName(p.Port.StrVal))...)
	}
	errs = append(errs, portNumber(p.Port.IntVal, at.Child("port"))...)
	if p.EndPort != nil && *p.EndPort < p.Port.IntVal {
		end("must be greater than or equal to `port`")
	}
	if p.EndPort != nil {
		errs = append(errs, portNumber(*p.EndPort, at.Child("endPort"))...)
	}
	return errs
}

func validatePolicyPeer(p *networkingv1.NetworkPolicyPeer, before []string, o metavalidation.LabelSelectorValidationOptions, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.PodSelector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(p.PodSelector, o, at.Child("podSelector"))...)
	}
	if p.NamespaceSelector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(p.NamespaceSelector, o, at.Child("namespaceSelector"))...)
	}
	if p.IPBlock != nil {
		errs = append(errs, validateIPBlock(p.IPBlock, before, at.Child("ipBlock"))...)
	}
	selects := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case !selects && p.IPBlock == nil:
		errs = append(errs, field.Required(at, "must specify a peer"))
	case selects && p.IPBlock != nil:
		errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
	}
	return errs
}

func validateIPBlock(b *networkingv1.IPBlock, before []string, at *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	errs := cidr(b.CIDR, at.Child("cidr"), before...)
	all, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return errs // said already
	}
	for i, value := range b.Except {
		at := at.Child("except").Index(i)
		errs = append(errs, cidr(value, at, before...)...)
		part, err := netip.ParsePrefix(value)
		if err == nil && (!all.Contains(part.Addr()) || all.Bits() >= part.Bits()) {
			errs = append(errs, field.Invalid(at, value, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}
