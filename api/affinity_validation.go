package api

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Where a Pod may run: near which nodes and which other Pods. A required term that is
// wrong could keep the Pod from ever being scheduled, so it is refused at once.

const (
	required  = "requiredDuringSchedulingIgnoredDuringExecution"
	preferred = "preferredDuringSchedulingIgnoredDuringExecution"
	maxWeight = 100
)

func validateAffinity(a *corev1.Affinity, at *field.Path) field.ErrorList {
	if a == nil {
		return nil
	}
	var errs field.ErrorList
	if n := a.NodeAffinity; n != nil {
		errs = append(errs, validateNodeAffinity(n, at.Child("nodeAffinity"))...)
	}
	for t := range podTerms(a, at) {
		if t.weight != nil {
			errs = append(errs, weight(*t.weight, t.item.Child("weight"))...)
		}
		errs = append(errs, validatePodTerm(t.PodAffinityTerm, t.at)...)
	}
	return errs
}

func validateNodeAffinity(n *corev1.NodeAffinity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s := n.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
		at := at.Child(required, "nodeSelectorTerms")
		if len(s.NodeSelectorTerms) == 0 {
			errs = append(errs, field.Required(at, "must have at least one node selector term"))
		}
		for i := range s.NodeSelectorTerms {
			errs = append(errs, validateNodeTerm(&s.NodeSelectorTerms[i], true, at.Index(i))...)
		}
	}
	for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
		t, at := &n.PreferredDuringSchedulingIgnoredDuringExecution[i], at.Child(preferred).Index(i)
		errs = append(errs, weight(t.Weight, at.Child("weight"))...)
		errs = append(errs, validateNodeTerm(&t.Preference, false, at.Child("preference"))...)
	}
	return errs
}

func weight(w int32, at *field.Path) field.ErrorList {
	if w < 1 || w > maxWeight {
		return field.ErrorList{field.Invalid(at, w, "must be in the range 1-100")}
	}
	return nil
}

// validateNodeTerm: strict terms may only name values that a label can have.
func validateNodeTerm(t *corev1.NodeSelectorTerm, strict bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, r := range t.MatchExpressions {
		at := at.Child("matchExpressions").Index(i)
		values := at.Child("values")
		switch r.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(values, "must be specified when `operator` is 'In' or 'NotIn'"))
			}
		case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				errs = append(errs, field.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
			}
		case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
			if len(r.Values) != 1 {
				errs = append(errs, field.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
			}
		default:
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		}
		errs = append(errs, metavalidation.ValidateLabelName(r.Key, at.Child("key"))...)
		for j, v := range r.Values {
			if strict {
				errs = append(errs, invalid(values.Index(j), v, validation.IsValidLabelValue(v))...)
			}
		}
	}
	for i := range t.MatchFields {
		errs = append(errs, validateNodeField(&t.MatchFields[i], at.Child("matchFields").Index(i))...)
	}
	return errs
}

// validateNodeField: metadata.name is the one field of a node that can be selected.
func validateNodeField(r *corev1.NodeSelectorRequirement, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	default:
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	if r.Key != metav1.ObjectNameField {
		return append(errs, field.Invalid(at.Child("key"), r.Key, "not a valid field selector key"))
	}
	for i, v := range r.Values {
		errs = append(errs, dnsSubdomain(v, at.Child("values").Index(i))...)
	}
	return errs
}

// podTerm is one of the terms about other Pods, and where it is; item is at itself, or,
// where the term has a weight, what holds the two.
type podTerm struct {
	*corev1.PodAffinityTerm
	weight   *int32
	item, at *field.Path
}

// podTerms are all terms about other Pods, wanted and unwanted, required and preferred.
func podTerms(a *corev1.Affinity, at *field.Path) iter.Seq[podTerm] {
	return func(yield func(podTerm) bool) {
		if a == nil {
			return
		}
		near, far := deref(a.PodAffinity), deref(a.PodAntiAffinity)
		for _, l := range []struct {
			at     *field.Path
			must   []corev1.PodAffinityTerm
			should []corev1.WeightedPodAffinityTerm
		}{
			{at.Child("podAffinity"), near.RequiredDuringSchedulingIgnoredDuringExecution, near.PreferredDuringSchedulingIgnoredDuringExecution},
			{at.Child("podAntiAffinity"), far.RequiredDuringSchedulingIgnoredDuringExecution, far.PreferredDuringSchedulingIgnoredDuringExecution},
		} {
			for i := range l.must {
				item := l.at.Child(required).Index(i)
				if !yield(podTerm{&l.must[i], nil, item, item}) {
					return
				}
			}
			for i := range l.should {
				item := l.at.Child(preferred).Index(i)
				if !yield(podTerm{&l.should[i].PodAffinityTerm, &l.should[i].Weight, item, item.Child("podAffinityTerm")}) {
					return
				}
			}
		}
	}
}

func validatePodTerm(t *corev1.PodAffinityTerm, at *field.Path) field.ErrorList {
	options := metavalidation.LabelSelectorValidationOptions{}
	errs := metavalidation.ValidateLabelSelector(t.LabelSelector, options, at.Child("labelSelector"))
	errs = append(errs, metavalidation.ValidateLabelSelector(t.NamespaceSelector, options, at.Child("namespaceSelector"))...)
	for _, name := range t.Namespaces {
		errs = append(errs, invalid(at.Child("namespace"), name, apivalidation.ValidateNamespaceName(name, false))...)
	}
	errs = append(errs, validateLabelKeys(t.LabelSelector, t.MatchLabelKeys, t.MismatchLabelKeys, at)...)
	key := at.Child("topologyKey")
	if t.TopologyKey == "" {
		errs = append(errs, field.Required(key, "can not be empty"))
	}
	return append(errs, metavalidation.ValidateLabelName(t.TopologyKey, key)...)
}

// validateLabelKeys: a key in match stands for "the same value as this Pod's", and was
// made an expression of the selector when the Pod was created (withLabelKeys). A second
// expression about the same key contradicts it, or says nothing.
func validateLabelKeys(s *metav1.LabelSelector, match, mismatch []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := func(keys []string, at *field.Path) {
		if len(keys) > 0 && s == nil {
			errs = append(errs, field.Forbidden(at, "must not be specified when labelSelector is not set"))
			return
		}
		for i, key := range keys {
			errs = append(errs, metavalidation.ValidateLabelName(key, at.Index(i))...)
		}
	}
	names(match, at.Child("matchLabelKeys"))
	names(mismatch, at.Child("mismatchLabelKeys"))
	position, other := map[string]int{}, sets.New(mismatch...)
	for i, key := range match {
		position[key] = i
	}
	if s != nil {
		seen := sets.KeySet(s.MatchLabels)
		for _, e := range s.MatchExpressions {
			if i, ok := position[e.Key]; ok && seen.Has(e.Key) {
				errs = append(errs, field.Invalid(at.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector"))
			}
			seen.Insert(e.Key)
		}
	}
	for i, key := range match {
		if other.Has(key) {
			errs = append(errs, field.Invalid(at.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
	return errs
}
