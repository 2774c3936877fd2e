package api

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// scaleOf is the /scale of a kind with replicas and a label selector.
func scaleOf(replicas *int32, current int32, selector *metav1.LabelSelector) *autoscalingv1.Scale {
	s := &autoscalingv1.Scale{Status: autoscalingv1.ScaleStatus{Replicas: current}}
	if replicas != nil {
		s.Spec.Replicas = *replicas
	}
	if sel, err := metav1.LabelSelectorAsSelector(selector); err == nil {
		s.Status.Selector = sel.String()
	}
	return s
}

// ValidateScale is for /scale, before the kind's own update.
func ValidateScale(s *autoscalingv1.Scale) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&s.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	return append(errs, nonNegative(s.Spec.Replicas, field.NewPath("spec", "replicas"))...)
}
