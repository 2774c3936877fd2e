package scheduler

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helpers "k8s.io/component-helpers/resource"
)

// fit keeps Pods from nodes that have too little of something they ask for. A node that
// says nothing about a resource but Pods is taken to have none of it.
func fit(pod *corev1.Pod, _ cluster) test {
	want := requests(pod)
	names := slices.Sorted(maps.Keys(want))
	return func(n *nodeInfo) (r refusal) {
		allocatable := n.node.Status.Allocatable
		if limit, ok := allocatable[corev1.ResourcePods]; ok && int64(len(n.pods)) >= limit.Value() {
			r.reasons = append(r.reasons, "Too many pods")
		}
		for _, name := range names {
			q := want[name]
			if q.IsZero() {
				continue
			}
			free := allocatable[name].DeepCopy()
			free.Sub(n.used[name])
			if free.Cmp(q) < 0 {
				r.reasons = append(r.reasons, fmt.Sprintf("Insufficient %s", name))
				all := allocatable[name]
				r.forGood = r.forGood || all.Cmp(q) < 0
			}
		}
		return r
	}
}

// freeScore likes nodes with much CPU and memory left.
func freeScore(pod *corev1.Pod, fits []*nodeInfo, _ cluster) []int64 {
	more := guess(pod)
	points := make([]int64, len(fits))
	for i, n := range fits {
		var sum, known int64
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			all, used, mine := n.node.Status.Allocatable[name], n.load[name], more[name]
			if all.IsZero() {
				continue
			}
			known++
			left := all.AsApproximateFloat64() - used.AsApproximateFloat64() - mine.AsApproximateFloat64()
			sum += int64(max(left, 0) * maxScore / all.AsApproximateFloat64())
		}
		if known > 0 {
			points[i] = sum / known
		}
	}
	return points
}

func requests(pod *corev1.Pod) corev1.ResourceList {
	return helpers.PodRequests(pod, helpers.PodResourcesOptions{})
}

// guess is what a Pod will use at the least, upstream's numbers where it does not say: so
// many that say nothing do not all go to one node.
func guess(pod *corev1.Pod) corev1.ResourceList {
	return helpers.PodRequests(pod, helpers.PodResourcesOptions{NonMissingContainerRequests: corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(100, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(200<<20, resource.BinarySI),
	}})
}
