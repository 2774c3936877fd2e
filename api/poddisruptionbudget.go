package api

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var podDisruptionBudgets = define(Kind{
	Versions: []Version{version[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](
		policyv1.SchemeGroupVersion, "PodDisruptionBudget")},
	Resource:     "poddisruptionbudgets",
	Singular:     "poddisruptionbudget",
	ShortNames:   []string{"pdb"},
	Namespaced:   true,
	AnyFinalizer: true,
	Conditional:  true, // an eviction must have seen how many were left
	Columns: []Column{
		nameColumn(),
		column("Min Available", "The minimum number of pods that must be available.",
			func(b *policyv1.PodDisruptionBudget) string { return boundCell(b.Spec.MinAvailable) }),
		column("Max Unavailable", "The maximum number of pods that may be unavailable.",
			func(b *policyv1.PodDisruptionBudget) string { return boundCell(b.Spec.MaxUnavailable) }),
		column("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.",
			func(b *policyv1.PodDisruptionBudget) int64 { return int64(b.Status.DisruptionsAllowed) }).integer(),
		ageColumn(),
	},
}, Rules[policyv1.PodDisruptionBudget]{
	Spec:           func(b *policyv1.PodDisruptionBudget) any { return &b.Spec },
	Status:         func(b *policyv1.PodDisruptionBudget) any { return &b.Status },
	Validate:       func(b *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudget(b, nil) },
	ValidateUpdate: validateBudget,
	ValidateStatus: func(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
		s, at := &b.Status, field.NewPath("status")
		errs := metavalidation.ValidateConditions(s.Conditions, at.Child("conditions"))
		errs = append(errs, nonNegative(s.DisruptionsAllowed, at.Child("disruptionsAllowed"))...)
		errs = append(errs, nonNegative(s.CurrentHealthy, at.Child("currentHealthy"))...)
		errs = append(errs, nonNegative(s.DesiredHealthy, at.Child("desiredHealthy"))...)
		return append(errs, nonNegative(s.ExpectedPods, at.Child("expectedPods"))...)
	},
})

// SetDisruptionAllowed says in the conditions whether another Pod may be evicted.
func SetDisruptionAllowed(b *policyv1.PodDisruptionBudget) {
	if b.Status.DisruptionsAllowed > 0 {
		setDisruptionAllowed(b, metav1.ConditionTrue, policyv1.SufficientPodsReason, "")
	} else {
		setDisruptionAllowed(b, metav1.ConditionFalse, policyv1.InsufficientPodsReason, "")
	}
}

// SetDisruptionsUnknown says in the conditions why the Pods could not be counted.
func SetDisruptionsUnknown(b *policyv1.PodDisruptionBudget, why error) {
	setDisruptionAllowed(b, metav1.ConditionFalse, policyv1.SyncFailedReason, why.Error())
}

func setDisruptionAllowed(b *policyv1.PodDisruptionBudget, is metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: is, Reason: reason, Message: message,
		ObservedGeneration: b.Status.ObservedGeneration,
	})
}

func boundCell(bound *intstr.IntOrString) string {
	if bound == nil {
		return "N/A"
	}
	return bound.String()
}

func validateBudget(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
	var errs field.ErrorList
	spec, at := &b.Spec, field.NewPath("spec")
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(at, *spec, "minAvailable and maxUnavailable cannot be both set"))
	}
	for name, bound := range ordered(map[string]*intstr.IntOrString{"minAvailable": spec.MinAvailable, "maxUnavailable": spec.MaxUnavailable}) {
		if bound != nil {
			errs = append(errs, countOrPercent(*bound, at.Child(name))...)
			errs = append(errs, atMostAll(*bound, at.Child(name))...)
		}
	}
	var o metavalidation.LabelSelectorValidationOptions
	o.AllowInvalidLabelValueInSelector = old != nil && invalidSelector(old.Spec.Selector)
	errs = append(errs, metavalidation.ValidateLabelSelector(spec.Selector, o, at.Child("selector"))...)
	if p := spec.UnhealthyPodEvictionPolicy; p != nil {
		errs = append(errs, supported(*p, at.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

// invalidSelector says whether a selector was stored by a server that checked less.
func invalidSelector(s *metav1.LabelSelector) bool {
	return len(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0
}
