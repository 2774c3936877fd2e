package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
)

// finalizeView writes a Namespace's spec.finalizers and nothing else. When the last
// one is gone from a Namespace that is being deleted, so is the Namespace.
func finalizeView(res *resource) view {
	v := wholeView(res, "finalize")
	v.merge = func(body, old api.Object) api.Object {
		next := old.DeepCopyObject().(*corev1.Namespace)
		next.Spec.Finalizers = body.(*corev1.Namespace).Spec.Finalizers
		next.ManagedFields = body.GetManagedFields()
		return next
	}
	v.check = func(api.Object, api.Object) field.ErrorList { return nil }
	return v
}
