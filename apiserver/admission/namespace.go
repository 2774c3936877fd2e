package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var namespaces = schema.GroupResource{Resource: "namespaces"}

// errImmortal protects the namespaces the cluster cannot do without.
var errImmortal = errors.New("this namespace may not be deleted")

// namespaceLifecycle lets new objects only into namespaces that exist and will go on
// to, and keeps the namespaces that every cluster has.
func namespaceLifecycle(ctx context.Context, a *Attributes) error {
	switch {
	case a.Operation == Delete && a.Kind.GroupResource() == namespaces && immortal(a.Name):
		return forbidden(a, errImmortal)
	case a.Operation != Create || !a.Kind.Namespaced || a.Namespace == "":
		return nil
	}
	o, err := a.Cluster.Get(ctx, namespaces, "", a.Namespace)
	if err != nil {
		return err
	}
	ns := o.(*corev1.Namespace)
	if ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	refused := forbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns.Name))
	refused.ErrStatus.Details.Causes = append(refused.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", ns.Name),
		Field:   "metadata.namespace",
	})
	return refused
}

func immortal(namespace string) bool {
	return namespace == metav1.NamespaceDefault || namespace == metav1.NamespaceSystem || namespace == metav1.NamespacePublic
}
