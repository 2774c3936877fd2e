package scheduler

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/utils/ptr"
)

// preemption is who has to go so that a Pod fits on a node.
type preemption struct {
	node    *nodeInfo
	victims []*corev1.Pod // the most important one first
}

// preempt finds the node where a Pod of some priority can have room at the least cost to
// Pods of lower ones. nil: nowhere.
//
// Kubernetes: rather spares Pods that a PodDisruptionBudget protects, and of equal nodes
// takes the one whose victims started last.
func preempt(pod *corev1.Pod, all cluster) *preemption {
	if ptr.Deref(pod.Spec.PreemptionPolicy, corev1.PreemptLowerPriority) == corev1.PreemptNever || awaitsVictims(pod, all) {
		return nil
	}
	var best *preemption
	for _, n := range all.sorted() {
		if victims := victimsOn(n, pod, all); len(victims) > 0 {
			p := &preemption{n, victims}
			if best == nil || cheaper(p, best) {
				best = p
			}
		}
	}
	return best
}

// awaitsVictims says whether room is being made for the Pod already.
func awaitsVictims(pod *corev1.Pod, all cluster) bool {
	n := all.nodes[pod.Status.NominatedNodeName]
	if n == nil {
		return false
	}
	for _, p := range n.pods {
		if p.DeletionTimestamp != nil && priority(p) < priority(pod) {
			return true
		}
	}
	return false
}

// victimsOn is the least that has to leave a node so that a Pod fits there; nil: there is
// nobody, or it is no use.
func victimsOn(n *nodeInfo, pod *corev1.Pod, all cluster) (victims []*corev1.Pod) {
	var lower []*corev1.Pod
	for _, p := range n.pods {
		if priority(p) < priority(pod) {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return nil
	}
	trial := newNodeInfo()
	trial.node = n.node
	for _, p := range n.pods {
		if !slices.Contains(lower, p) {
			trial.add(p)
		}
	}
	world := cluster{maps.Clone(all.nodes), all.namespaces}
	world.nodes[n.node.Name] = trial
	fits := func() bool { return len(against(trial, tests(pod, world))) == 0 }
	if !fits() {
		return nil
	}
	// The most important ones, and of those that are as important the oldest, may stay first.
	slices.SortFunc(lower, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(priority(b), priority(a)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range lower {
		if trial.add(p); !fits() {
			trial.remove(p)
			victims = append(victims, p)
		}
	}
	return victims
}

// cheaper compares by the most important victim, then by how important they are together,
// then by their number.
func cheaper(a, b *preemption) bool {
	sum := func(p *preemption) (sum int64) {
		for _, v := range p.victims {
			sum += int64(priority(v)) + 1<<31 // so that many of a negative priority count more than one
		}
		return sum
	}
	return cmp.Or(
		cmp.Compare(priority(a.victims[0]), priority(b.victims[0])),
		cmp.Compare(sum(a), sum(b)),
		cmp.Compare(len(a.victims), len(b.victims)),
	) < 0
}

func priority(pod *corev1.Pod) int32 { return schedulingv1.PodPriority(pod) }
