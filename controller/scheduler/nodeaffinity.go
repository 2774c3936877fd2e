package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// nodeAffinity keeps Pods from nodes that their nodeSelector or required affinity rules out.
func nodeAffinity(pod *corev1.Pod, _ cluster) test {
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	return func(n *nodeInfo) refusal {
		if ok, err := required.Match(n.node); !ok || err != nil {
			return refuseForGood("node(s) didn't match Pod's node affinity/selector")
		}
		return refusal{}
	}
}

// nodeAffinityScore likes nodes that the Pod prefers.
func nodeAffinityScore(pod *corev1.Pod, fits []*nodeInfo, _ cluster) []int64 {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || len(affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return nil // the API server lets none of these in
	}
	raw := make([]int64, len(fits))
	for i, n := range fits {
		raw[i] = terms.Score(n.node)
	}
	return shares(raw, false)
}
