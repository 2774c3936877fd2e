package api

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var namespaces = define(Kind{
	Versions:   []Version{version[corev1.Namespace, corev1.NamespaceList](corev1.SchemeGroupVersion, "Namespace")},
	Resource:   "namespaces",
	Singular:   "namespace",
	OneByOne:   true,
	ShortNames: []string{"ns"},
	Subresources: []Subresource{
		{Name: "finalize", Verbs: []string{"update"}},
	},
	ValidateName: apivalidation.NameIsDNSLabel,
	Columns: []Column{
		nameColumn(),
		column("Status", "The status of the namespace", func(n *corev1.Namespace) any { return string(n.Status.Phase) }),
		ageColumn(),
	},
}, Rules[corev1.Namespace]{
	Status:         func(n *corev1.Namespace) any { return &n.Status },
	Default:        defaultNamespace,
	PrepareCreate:  prepareNamespace,
	PrepareUpdate:  func(n, old *corev1.Namespace) { n.Spec.Finalizers = old.Spec.Finalizers },
	Validate:       validateNamespace,
	ValidateStatus: func(n, _ *corev1.Namespace) field.ErrorList { return validateNamespacePhase(n) },
	Fields: func(n *corev1.Namespace) fields.Set {
		return fields.Set{"status.phase": string(n.Status.Phase)}
	},
})

// defaultNamespace labels a namespace with its own name, so that label selectors can
// name namespaces.
func defaultNamespace(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

// prepareNamespace adds the finalizer that keeps a deleted namespace until its
// controller has emptied it.
func prepareNamespace(n *corev1.Namespace) {
	n.Status.Phase = corev1.NamespaceActive
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

func validateNamespace(n *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for _, f := range n.Spec.Finalizers {
		at := field.NewPath("spec", "finalizers") // upstream doesn't say which
		errs = append(errs, apivalidation.ValidateFinalizerName(string(f), at)...)
		errs = append(errs, qualifiedFinalizer(string(f), at)...)
	}
	return errs
}

func validateNamespacePhase(n *corev1.Namespace) field.ErrorList {
	at := field.NewPath("status", "Phase") // upstream's spelling
	switch {
	case n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}
