package podgc

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/controller/podstate"
)

// threshold is how many Pods that ran to their end are kept.
const threshold = 12500

// orphaned reports whether the Pod's node is gone, and the Pod with it.
func orphaned(pod *corev1.Pod, nodeExists func(string) bool) bool {
	return pod.Spec.NodeName != "" && !podstate.IsMirror(pod) && !nodeExists(pod.Spec.NodeName)
}

// excess lists the oldest of the ended Pods beyond the threshold.
func excess(pods []*corev1.Pod, keep int) []*corev1.Pod {
	ended := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool {
		return !podstate.IsTerminal(p) || podstate.IsMirror(p) || p.DeletionTimestamp != nil
	})
	slices.SortFunc(ended, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return ended[:max(0, len(ended)-keep)]
}
