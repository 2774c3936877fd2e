package api

import (
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Access reviews ask what somebody, or who asks, may do: kubectl auth can-i.

var subjectAccessReviews = define(Kind{
	Versions: []Version{asked[authorizationv1.SubjectAccessReview](authorizationv1.SchemeGroupVersion, "SubjectAccessReview")},
	Resource: "subjectaccessreviews",
	Singular: "subjectaccessreview",
}, Rules[authorizationv1.SubjectAccessReview]{
	Validate: func(r *authorizationv1.SubjectAccessReview) field.ErrorList {
		return append(validateAccess(&r.Spec), emptyMeta(r.ObjectMeta, "must be empty")...)
	},
})

var localSubjectAccessReviews = define(Kind{
	Versions:   []Version{asked[authorizationv1.LocalSubjectAccessReview](authorizationv1.SchemeGroupVersion, "LocalSubjectAccessReview")},
	Resource:   "localsubjectaccessreviews",
	Singular:   "localsubjectaccessreview",
	Namespaced: true,
}, Rules[authorizationv1.LocalSubjectAccessReview]{
	Validate: validateLocalAccessReview,
})

var selfSubjectAccessReviews = define(Kind{
	Versions: []Version{asked[authorizationv1.SelfSubjectAccessReview](authorizationv1.SchemeGroupVersion, "SelfSubjectAccessReview")},
	Resource: "selfsubjectaccessreviews",
	Singular: "selfsubjectaccessreview",
}, Rules[authorizationv1.SelfSubjectAccessReview]{
	Validate: func(r *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
		errs := validateAttributes(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
		return append(errs, emptyMeta(r.ObjectMeta, "must be empty")...)
	},
})

var selfSubjectRulesReviews = define(Kind{
	Versions: []Version{asked[authorizationv1.SelfSubjectRulesReview](authorizationv1.SchemeGroupVersion, "SelfSubjectRulesReview")},
	Resource: "selfsubjectrulesreviews",
	Singular: "selfsubjectrulesreview",
}, Rules[authorizationv1.SelfSubjectRulesReview]{})

func validateLocalAccessReview(r *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	meta := r.ObjectMeta
	meta.Namespace = ""
	errs := append(validateAccess(&r.Spec), emptyMeta(meta, "must be empty except for namespace")...)
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if a := r.Spec.NonResourceAttributes; a != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), (*shownPath)(a), "disallowed on this kind of request"))
	}
	return errs
}

// shownPath is how upstream's messages show NonResourceAttributes: its internal types have
// no names for JSON.
type shownPath struct{ Path, Verb string }

func emptyMeta(m metav1.ObjectMeta, what string) field.ErrorList {
	m.ManagedFields = nil
	if equality.Semantic.DeepEqual(metav1.ObjectMeta{}, m) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, what)}
}

func validateAccess(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateAttributes(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateAttributes(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	var errs field.ErrorList
	if (r == nil) == (n == nil) {
		errs = append(errs, field.Invalid(field.NewPath("spec"), (*shownPath)(n), "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if r == nil {
		return errs
	}
	at := field.NewPath("spec.resourceAttributes")
	if s := r.FieldSelector; s != nil {
		errs = append(errs, eitherSelector(s.RawSelector, len(s.Requirements), at.Child("fieldSelector"))...)
		for i, q := range s.Requirements {
			errs = append(errs, metavalidation.ValidateFieldSelectorRequirement(q,
				metavalidation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, at.Child("fieldSelector", "requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		errs = append(errs, eitherSelector(s.RawSelector, len(s.Requirements), at.Child("labelSelector"))...)
		for i, q := range s.Requirements {
			errs = append(errs, metavalidation.ValidateLabelSelectorRequirement(q,
				metavalidation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, at.Child("labelSelector", "requirements").Index(i))...)
		}
	}
	return errs
}

func eitherSelector(raw string, requirements int, at *field.Path) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", at))}
	}
	return nil
}
