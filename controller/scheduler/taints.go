package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

// cordon keeps Pods from nodes that are to take no more. It is a taint of its own kind.
func cordon(pod *corev1.Pod, _ cluster) test {
	if tolerates(pod, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return nil
	}
	return func(n *nodeInfo) refusal {
		if n.node.Spec.Unschedulable {
			return refuseForGood("node(s) were unschedulable")
		}
		return refusal{}
	}
}

// taints keeps Pods from nodes with taints that they do not tolerate.
func taints(pod *corev1.Pod, _ cluster) test {
	return func(n *nodeInfo) refusal {
		if untolerated(pod, n.node, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute) > 0 {
			return refuseForGood("node(s) had untolerated taint(s)")
		}
		return refusal{}
	}
}

// taintScore likes nodes without taints that ask to be avoided.
func taintScore(pod *corev1.Pod, fits []*nodeInfo, _ cluster) []int64 {
	raw := make([]int64, len(fits))
	for i, n := range fits {
		raw[i] = int64(untolerated(pod, n.node, corev1.TaintEffectPreferNoSchedule))
	}
	return shares(raw, true)
}

func untolerated(pod *corev1.Pod, node *corev1.Node, effects ...corev1.TaintEffect) (n int) {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if slices.Contains(effects, taint.Effect) && !tolerates(pod, taint) {
			n++
		}
	}
	return n
}

func tolerates(pod *corev1.Pod, taint *corev1.Taint) bool {
	return schedulingv1.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, taint, true)
}
