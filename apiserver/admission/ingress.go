package admission

import (
	"cmp"
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"

	"orrery.example.org/api"
)

// defaultIngressClass gives a new Ingress that names no class the default one: the
// newest that is marked so.
func defaultIngressClass(ctx context.Context, a *Attributes) error {
	ingress, ok := a.Object.(*networkingv1.Ingress)
	if !ok || a.Operation != Create || a.Subresource != "" || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, annotated := ingress.Annotations[networkingv1beta1.AnnotationIngressClass]; annotated {
		return nil
	}
	classes, err := a.Cluster.List(ctx, networkingv1.Resource("ingressclasses"), "")
	if err != nil {
		return forbidden(a, err)
	}
	classes = slices.DeleteFunc(classes, func(c api.Object) bool {
		return c.GetAnnotations()[networkingv1.AnnotationIsDefaultIngressClass] != "true"
	})
	if len(classes) == 0 {
		return nil
	}
	newest := slices.MinFunc(classes, func(a, b api.Object) int {
		return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	ingress.Spec.IngressClassName = new(newest.GetName())
	return nil
}
