package api

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var ingresses = define(Kind{
	Versions:     []Version{version[networkingv1.Ingress, networkingv1.IngressList](networkingv1.SchemeGroupVersion, "Ingress")},
	Resource:     "ingresses",
	Singular:     "ingress",
	ShortNames:   []string{"ing"},
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Class", "The name of the IngressClass resource that should be used for additional configuration", ingressClassCell),
		column("Hosts", "Hosts that incoming requests are matched against before the ingress rule", ingressHostsCell),
		column("Address", "Address is a list containing ingress points for the load-balancer", ingressAddressCell),
		column("Ports", "Ports of TLS configurations that open", func(i *networkingv1.Ingress) string {
			if len(i.Spec.TLS) > 0 {
				return "80, 443"
			}
			return "80"
		}),
		ageColumn(),
	},
}, Rules[networkingv1.Ingress]{
	Spec:   func(i *networkingv1.Ingress) any { return &i.Spec },
	Status: func(i *networkingv1.Ingress) any { return &i.Status },
	Validate: func(i *networkingv1.Ingress) field.ErrorList {
		return append(validateIngress(i, nil), ingressClassesAgree(i)...)
	},
	ValidateUpdate: validateIngress,
	ValidateStatus: validateIngressStatus,
	Warnings: func(i, old *networkingv1.Ingress) []string {
		if _, annotated := i.Annotations[networkingv1beta1.AnnotationIngressClass]; annotated && i.Spec.IngressClassName == nil && old == nil {
			return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", networkingv1beta1.AnnotationIngressClass)}
		}
		return nil
	},
	StatusWarnings: func(i *networkingv1.Ingress) []string {
		var w []string
		for n, in := range i.Status.LoadBalancer.Ingress {
			w = append(w, ipWarnings(in.IP, field.NewPath("status", "loadBalancer", "ingress").Index(n))...)
		}
		return w
	},
})

func ingressClassCell(i *networkingv1.Ingress) string {
	if i.Spec.IngressClassName == nil {
		return none
	}
	return *i.Spec.IngressClassName
}

func ingressHostsCell(i *networkingv1.Ingress) string {
	var hosts []string
	more := false
	for _, r := range i.Spec.Rules {
		if more = len(hosts) == listed; more {
			break
		}
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	switch {
	case len(hosts) == 0:
		return "*"
	case more:
		return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(i.Spec.Rules)-listed)
	}
	return strings.Join(hosts, ",")
}

func ingressAddressCell(i *networkingv1.Ingress) string {
	addresses := sets.New[string]()
	for _, in := range i.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			addresses.Insert(in.IP)
		} else if in.Hostname != "" {
			addresses.Insert(in.Hostname)
		}
	}
	return strings.Join(sets.List(addresses), ",")
}

// ingressClassesAgree: the annotation came before the field, and old manifests have both.
func ingressClassesAgree(i *networkingv1.Ingress) field.ErrorList {
	class, annotated := i.Annotations[networkingv1beta1.AnnotationIngressClass]
	if annotated && i.Spec.IngressClassName != nil && class != *i.Spec.IngressClassName {
		return field.ErrorList{field.Invalid(field.NewPath("annotations").Child(networkingv1beta1.AnnotationIngressClass),
			class, "must match `ingressClassName` when both are specified")}
	}
	return nil
}

// validateIngress checks i. What was wrong in old already and could be stored once, may
// stay so.
func validateIngress(i, old *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	spec, at := &i.Spec, field.NewPath("spec")
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(at, spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if spec.DefaultBackend != nil {
		errs = append(errs, validateIngressBackend(spec.DefaultBackend, at.Child("defaultBackend"))...)
	}
	for n := range spec.Rules {
		wildcards := old == nil || !slices.ContainsFunc(old.Spec.Rules, func(r networkingv1.IngressRule) bool {
			return strings.Contains(r.Host, "*") && len(validateIngressPaths(&r, nil)) > 0
		})
		errs = append(errs, validateIngressRule(&spec.Rules[n], wildcards, at.Child("rules").Index(n))...)
	}
	secrets := old == nil || !slices.ContainsFunc(old.Spec.TLS, func(t networkingv1.IngressTLS) bool {
		return t.SecretName != "" && len(validation.IsDNS1123Subdomain(t.SecretName)) > 0
	})
	for n := range spec.TLS {
		errs = append(errs, validateIngressTLS(&spec.TLS[n], secrets, at.Child("tls").Index(n))...)
	}
	if spec.IngressClassName != nil {
		errs = append(errs, dnsSubdomain(*spec.IngressClassName, at.Child("ingressClassName"))...)
	}
	return errs
}

func validateIngressTLS(t *networkingv1.IngressTLS, secrets bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, host := range t.Hosts {
		errs = append(errs, hostname(host, at.Child("hosts").Index(i))...)
	}
	if secrets && t.SecretName != "" {
		errs = append(errs, dnsSubdomain(t.SecretName, at.Child("secretName"))...)
	}
	return errs
}

// hostname is a DNS name whose first label may be *.
func hostname(host string, at *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return invalid(at, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return dnsSubdomain(host, at)
}

func validateIngressRule(r *networkingv1.IngressRule, wildcards bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Host != "" {
		errs = append(errs, notAnAddress(r.Host, at.Child("host"))...)
		errs = append(errs, hostname(r.Host, at.Child("host"))...)
	}
	if wildcards || !strings.Contains(r.Host, "*") {
		errs = append(errs, validateIngressPaths(r, at)...)
	}
	return errs
}

func validateIngressPaths(r *networkingv1.IngressRule, at *field.Path) field.ErrorList {
	if r.HTTP == nil {
		return nil
	}
	var errs field.ErrorList
	at = at.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	for i := range r.HTTP.Paths {
		errs = append(errs, validateIngressPath(&r.HTTP.Paths[i], at.Index(i))...)
	}
	return errs
}

func validateIngressPath(p *networkingv1.HTTPIngressPath, at *field.Path) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	refuse := func(format string, args ...any) {
		errs = append(errs, field.Invalid(at.Child("path"), p.Path, fmt.Sprintf(format, args...)))
	}
	exact := *p.PathType == networkingv1.PathTypeExact || *p.PathType == networkingv1.PathTypePrefix
	errs = append(errs, supported(*p.PathType, at.Child("pathType"), networkingv1.PathTypeExact,
		networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)...)
	if len(errs) == 0 && !strings.HasPrefix(p.Path, "/") && (exact || p.Path != "") {
		refuse("must be an absolute path")
	}
	if exact {
		for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, part) {
				refuse("must not contain '%s'", part)
			}
		}
		for _, end := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, end) {
				refuse("cannot end with '%s'", end)
			}
		}
	}
	return append(errs, validateIngressBackend(&p.Backend, at.Child("backend"))...)
}

func validateIngressBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return reference(b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, at.Child("resource"))
	case b.Service == nil:
		return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
	}
	var errs field.ErrorList
	name, port, service := b.Service.Name, b.Service.Port, at.Child("service")
	if name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	} else {
		errs = append(errs, dnsLabel(name, service.Child("name"))...)
	}
	switch {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case port.Name != "":
		errs = append(errs, invalid(service.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))...)
	case port.Number != 0:
		errs = append(errs, portNumber(port.Number, service.Child("port", "number"))...)
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

func validateIngressStatus(i, old *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		before = append(before, in.IP)
	}
	for n, in := range i.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(n)
		if in.IP != "" {
			errs = append(errs, ipAddress(in.IP, at.Child("ip"), before...)...)
		}
		if in.Hostname != "" {
			errs = append(errs, dnsSubdomain(in.Hostname, at.Child("hostname"))...)
			errs = append(errs, notAnAddress(in.Hostname, at.Child("hostname"))...)
		}
	}
	return errs
}
