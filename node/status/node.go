package status

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NetworkNotReady is upstream's message for a node without its part of the network.
const NetworkNotReady = "container runtime network not ready: NetworkReady=false " +
	"reason:NetworkPluginNotReady message:Network plugin returns error: no podCIDR is assigned to the node yet"

// NodeConditions are those that a node reports about itself.
func NodeConditions(ready bool, now metav1.Time) (all []corev1.NodeCondition) {
	condition := func(t corev1.NodeConditionType, s corev1.ConditionStatus, reason, message string) {
		all = append(all, corev1.NodeCondition{
			Type: t, Status: s, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now,
		})
	}
	condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
	condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
	condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available")
	if ready {
		condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status")
	} else {
		condition(corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", NetworkNotReady)
	}
	return all
}

// MergeNode puts what the agent reports into a status that others may have
// written to as well: their conditions stay, and a condition that says what it said
// before keeps the time since when.
func MergeNode(old, report corev1.NodeStatus) corev1.NodeStatus {
	merged := *old.DeepCopy()
	conditions := merged.Conditions
	merged.Capacity, merged.Allocatable = report.Capacity, report.Allocatable
	merged.Addresses, merged.NodeInfo, merged.Images = report.Addresses, report.NodeInfo, report.Images
	merged.DaemonEndpoints = report.DaemonEndpoints
next:
	for _, c := range report.Conditions {
		for i := range conditions {
			if conditions[i].Type == c.Type {
				if conditions[i].Status == c.Status {
					c.LastTransitionTime = conditions[i].LastTransitionTime
				}
				conditions[i] = c
				continue next
			}
		}
		conditions = append(conditions, c)
	}
	merged.Conditions = conditions
	return merged
}

// SameNode says whether two statuses say the same, whenever it was seen.
func SameNode(a, b corev1.NodeStatus) bool {
	return equality.Semantic.DeepEqual(timeless(a), timeless(b))
}

func timeless(s corev1.NodeStatus) corev1.NodeStatus {
	s = *s.DeepCopy()
	for i := range s.Conditions {
		s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		s.Conditions[i].LastTransitionTime = metav1.Time{}
	}
	return s
}
