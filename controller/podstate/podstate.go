// Package podstate answers the questions that several loops ask about one Pod: is it
// ready, is it available, does it still count. Pure.
//
// Upstream counterpart: pkg/api/v1/pod and parts of pkg/controller/controller_utils.go.
package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// MirrorAnnotation marks the API's copy of a Pod that a node runs on its own account
// (a static Pod). No controller may remove it: the node would only make it again.
const MirrorAnnotation = corev1.MirrorPodAnnotationKey

// NodeIndex is the name of the index of Pods by node.
const NodeIndex = "node"

// ByNode is the index function of NodeIndex.
func ByNode(obj any) ([]string, error) {
	if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
		return []string{pod.Spec.NodeName}, nil
	}
	return nil, nil
}

// Condition finds a condition, or nil.
func Condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}

// IsReady reports whether the Pod's Ready condition is True.
func IsReady(pod *corev1.Pod) bool {
	c := Condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// IsAvailable reports whether the Pod has been ready for minReadySeconds, and if it is
// ready but not for that long, how much is missing.
func IsAvailable(pod *corev1.Pod, minReadySeconds int32, now time.Time) (available bool, in time.Duration) {
	if !IsReady(pod) {
		return false, 0
	}
	since := Condition(pod, corev1.PodReady).LastTransitionTime
	enough := time.Duration(minReadySeconds) * time.Second
	if enough == 0 {
		return true, 0
	}
	if since.IsZero() {
		return false, 0
	}
	in = since.Add(enough).Sub(now)
	return in <= 0, max(in, 0)
}

// IsTerminal reports whether the Pod has run to its end.
func IsTerminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// IsActive reports whether the Pod counts as a replica: not at its end, not on its way out.
func IsActive(pod *corev1.Pod) bool {
	return !IsTerminal(pod) && pod.DeletionTimestamp == nil
}

// IsMirror reports whether the Pod belongs to its node.
func IsMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[MirrorAnnotation]
	return ok
}
