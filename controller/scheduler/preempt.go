package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/utils/ptr"
)

// preemption is who has to go so that a Pod fits on a node.
type preemption struct {
	node     *nodeInfo
	victims  []*corev1.Pod // the most important one first
	breaches int           // of them that a budget protects
}

// preempt finds the node where a Pod of some priority can have room at the least cost to
// Pods of lower ones, nil: nowhere, and says what came of it. refused is what is against
// the nodes as they are.
func preempt(pod *corev1.Pod, all cluster, refused refusals) (*preemption, string) {
	if ptr.Deref(pod.Spec.PreemptionPolicy, corev1.PreemptLowerPriority) == corev1.PreemptNever {
		return nil, "not eligible due to preemptionPolicy=Never."
	}
	if awaitsVictims(pod, all) && !refused[pod.Status.NominatedNodeName].forGood {
		return nil, "not eligible due to a terminating pod on the nominated node."
	}
	var best *preemption
	useless := refusals{}
	for _, n := range all.sorted() {
		name := n.node.Name
		if refused[name].forGood {
			useless[name] = refuse("Preemption is not helpful for scheduling")
			continue
		}
		p, r := victimsOn(n, pod, all)
		if p == nil {
			useless[name] = r
		} else if best == nil || cheaper(p, best) {
			best = p
		}
	}
	if best == nil {
		return nil, useless.String()
	}
	return best, fmt.Sprintf("found a potential placement for pod on node %v, preempting %d victims", best.node.node.Name, len(best.victims))
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

// victimsOn is the least that has to leave a node so that a Pod fits there, or why that
// can't be.
func victimsOn(n *nodeInfo, pod *corev1.Pod, all cluster) (*preemption, refusal) {
	var lower []*corev1.Pod
	for _, p := range n.pods {
		if priority(p) < priority(pod) {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return nil, refuse("No preemption victims found for incoming pod")
	}
	trial := newNodeInfo()
	trial.node = n.node
	for _, p := range n.pods {
		if !slices.Contains(lower, p) {
			trial.add(p)
		}
	}
	world := all
	world.nodes = maps.Clone(all.nodes)
	world.nodes[n.node.Name] = trial
	obstacle := func() refusal { return against(trial, tests(pod, world)) }
	if r := obstacle(); !r.none() {
		return nil, r
	}
	// Those that a budget protects, then the more important ones, may stay first.
	slices.SortFunc(lower, byImportance)
	protected, others := divide(lower, all)
	found := &preemption{node: n}
	for i, p := range slices.Concat(protected, others) {
		if trial.add(p); obstacle().none() {
			continue
		}
		trial.remove(p)
		found.victims = append(found.victims, p)
		if i < len(protected) {
			found.breaches++
		}
	}
	slices.SortFunc(found.victims, byImportance)
	return found, refusal{}
}

// byImportance has the Pods of higher priority first, and of those the ones that have run
// for longer.
func byImportance(a, b *corev1.Pod) int {
	return cmp.Or(cmp.Compare(priority(b), priority(a)), started(a).Compare(started(b).Time), cmp.Compare(a.Name, b.Name))
}

// started is when a Pod started, or when it was made if no node has begun with it.
func started(p *corev1.Pod) metav1.Time { return ptr.Deref(p.Status.StartTime, p.CreationTimestamp) }

// divide parts the Pods whose end, after that of those before them, would be one more than
// a PodDisruptionBudget allows from the others.
func divide(pods []*corev1.Pod, all cluster) (protected, others []*corev1.Pod) {
	if all.budgets == nil {
		return nil, pods
	}
	budgets := all.budgets()
	left := make([]int32, len(budgets))
	for i, b := range budgets {
		left[i] = b.Status.DisruptionsAllowed
	}
	overruns := func(p *corev1.Pod) bool {
		for i, b := range budgets {
			if !protects(b, p) {
				continue
			}
			if left[i]--; left[i] < 0 {
				return true
			}
		}
		return false
	}
	for _, p := range pods {
		if overruns(p) {
			protected = append(protected, p)
		} else {
			others = append(others, p)
		}
	}
	return protected, others
}

// protects says whether a Pod's end would count against a budget, and has not yet.
func protects(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil || selector.Empty() || b.Namespace != p.Namespace || !selector.Matches(labels.Set(p.Labels)) {
		return false
	}
	_, counted := b.Status.DisruptedPods[p.Name]
	return !counted
}

// cheaper compares by the budgets that are overrun, then by the most important victim, by
// how important they are together, by their number, and by how long the most important
// ones have run.
func cheaper(a, b *preemption) bool {
	sum := func(p *preemption) (sum int64) {
		for _, v := range p.victims {
			sum += int64(priority(v)) + 1<<31 // so that many of a negative priority count more than one
		}
		return sum
	}
	return cmp.Or(
		cmp.Compare(a.breaches, b.breaches),
		cmp.Compare(priority(a.victims[0]), priority(b.victims[0])),
		cmp.Compare(sum(a), sum(b)),
		cmp.Compare(len(a.victims), len(b.victims)),
		started(b.victims[0]).Compare(started(a.victims[0]).Time),
	) < 0
}

func priority(pod *corev1.Pod) int32 { return schedulingv1.PodPriority(pod) }
