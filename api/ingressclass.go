package api

import (
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var ingressClasses = define(Kind{
	Versions:     []Version{version[networkingv1.IngressClass, networkingv1.IngressClassList](networkingv1.SchemeGroupVersion, "IngressClass")},
	Resource:     "ingressclasses",
	Singular:     "ingressclass",
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		as(nameColumn(), func(c *networkingv1.IngressClass) any {
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
				return c.Name + " (default)"
			}
			return c.Name
		}),
		column("Controller", "Controller that is responsible for handling this class",
			func(c *networkingv1.IngressClass) string { return c.Spec.Controller }),
		column("Parameters", "A reference to a resource with additional parameters", parametersCell),
		ageColumn(),
	},
}, Rules[networkingv1.IngressClass]{
	Spec: func(c *networkingv1.IngressClass) any { return &c.Spec },
	Default: func(c *networkingv1.IngressClass) {
		if p := c.Spec.Parameters; p != nil {
			set(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
		}
	},
	Validate: validateIngressClass,
	ValidateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
		return append(immutable(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller")), validateIngressClass(c)...)
	},
})

func parametersCell(c *networkingv1.IngressClass) string {
	p := c.Spec.Parameters
	switch {
	case p == nil:
		return none
	case p.APIGroup != nil:
		return p.Kind + "." + *p.APIGroup + "/" + p.Name
	}
	return p.Kind + "/" + p.Name
}

const maxIngressController = 250

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec", "controller")
	if len(c.Spec.Controller) > maxIngressController {
		errs = append(errs, field.TooLong(at, "", maxIngressController))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(at, c.Spec.Controller)...)
	p, at := c.Spec.Parameters, field.NewPath("spec", "parameters")
	if p == nil {
		return errs
	}
	errs = append(errs, reference(p.APIGroup, p.Kind, p.Name, at)...)
	errs = append(errs, supported(*p.Scope, at.Child("scope"),
		networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	at = at.Child("namespace")
	switch {
	case *p.Scope == networkingv1.IngressClassParametersReferenceScopeCluster && p.Namespace != nil:
		errs = append(errs, field.Forbidden(at, "`parameters.scope` is set to 'Cluster'"))
	case *p.Scope != networkingv1.IngressClassParametersReferenceScopeNamespace:
	case p.Namespace == nil:
		errs = append(errs, field.Required(at, "`parameters.scope` is set to 'Namespace'"))
	default:
		errs = append(errs, dnsLabel(*p.Namespace, at)...)
	}
	return errs
}
