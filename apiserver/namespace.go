package apiserver

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
)

// errImmortal protects the namespaces the cluster cannot do without.
var errImmortal = errors.New("this namespace may not be deleted")

func immortal(namespace string) bool {
	return namespace == metav1.NamespaceDefault || namespace == metav1.NamespaceSystem || namespace == metav1.NamespacePublic
}

// admitNamespace lets new objects only into namespaces that exist and will go on to.
// Upstream counterpart: the admission plugin NamespaceLifecycle.
func (h *handlers) admitNamespace(ctx context.Context, res *resource, o api.Object) error {
	if !res.kind.Namespaced || o.GetNamespace() == "" {
		return nil
	}
	namespaces := h.core("namespaces").objects
	// The cache knows nearly always; only who finds nothing there asks etcd.
	v, err := namespaces.Get(ctx, "", o.GetNamespace(), true)
	if apierrors.IsNotFound(err) {
		v, err = namespaces.Get(ctx, "", o.GetNamespace(), false)
	}
	if err != nil {
		return err
	}
	ns := v.Object.(*corev1.Namespace)
	if ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	forbidden := apierrors.NewForbidden(res.kind.GroupResource(), o.GetName(),
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns.Name))
	forbidden.ErrStatus.Details.Causes = append(forbidden.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", ns.Name),
		Field:   "metadata.namespace",
	})
	return forbidden
}

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
