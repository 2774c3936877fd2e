package api

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
