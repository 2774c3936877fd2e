package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/utils/ptr"
)

// constraint is a topologySpreadConstraint, with how many of the Pods that it is about are
// in each of the domains that count.
type constraint struct {
	*corev1.TopologySpreadConstraint
	selector labels.Selector
	counts   map[string]int64
}

// constraints counts for those of a Pod's constraints that are of this kind.
func constraints(pod *corev1.Pod, all cluster, kind corev1.UnsatisfiableConstraintAction) []constraint {
	var found []constraint
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable == kind {
			found = append(found, constraint{c, spreadSelector(pod, c), map[string]int64{}})
		}
	}
	if len(found) == 0 {
		return nil
	}
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	for _, n := range all.sorted() {
		if !hasKeys(n, found) {
			continue
		}
		mayGo, err := required.Match(n.node)
		for _, c := range found {
			honour := ptr.Deref(c.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor) == corev1.NodeInclusionPolicyHonor
			heed := ptr.Deref(c.NodeTaintsPolicy, corev1.NodeInclusionPolicyIgnore) == corev1.NodeInclusionPolicyHonor
			if honour && (!mayGo || err != nil) || heed && untolerated(pod, n.node, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute) > 0 {
				continue
			}
			value, _ := n.domain(c.TopologyKey)
			c.counts[value] += c.matching(pod.Namespace, n)
		}
	}
	return found
}

// hasKeys says whether a node is in a domain of every constraint.
func hasKeys(n *nodeInfo, all []constraint) bool {
	for _, c := range all {
		if _, ok := n.domain(c.TopologyKey); !ok {
			return false
		}
	}
	return true
}

// spreadSelector is the constraint's selector, narrowed to the Pod's own values of matchLabelKeys.
func spreadSelector(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
	if err != nil {
		return labels.Nothing() // the API server lets none of these in
	}
	for _, key := range c.MatchLabelKeys {
		if value, ok := pod.Labels[key]; ok {
			more, _ := labels.SelectorFromSet(labels.Set{key: value}).Requirements()
			selector = selector.Add(more...)
		}
	}
	return selector
}

// matching counts a node's Pods that the constraint is about. Those that end do not count.
func (c constraint) matching(namespace string, n *nodeInfo) (count int64) {
	for _, p := range n.pods {
		if p.Namespace == namespace && p.DeletionTimestamp == nil && c.selector.Matches(labels.Set(p.Labels)) {
			count++
		}
	}
	return count
}

// least is the number of Pods in the domain with the fewest.
func (c constraint) least() int64 {
	if int32(len(c.counts)) < ptr.Deref(c.MinDomains, 1) {
		return 0
	}
	least := int64(math.MaxInt32)
	for _, n := range c.counts {
		least = min(least, n)
	}
	return least
}

// spread keeps Pods from nodes in domains that would have too many more of their kind
// than another.
func spread(pod *corev1.Pod, all cluster) test {
	found := constraints(pod, all, corev1.DoNotSchedule)
	if len(found) == 0 {
		return nil
	}
	return func(n *nodeInfo) refusal {
		for _, c := range found {
			value, ok := n.domain(c.TopologyKey)
			if !ok {
				return refuseForGood("node(s) didn't match pod topology spread constraints (missing required label)")
			}
			there := c.counts[value]
			if c.selector.Matches(labels.Set(pod.Labels)) {
				there++ // the Pod itself
			}
			if there-c.least() > int64(c.MaxSkew) {
				return refuse("node(s) didn't match pod topology spread constraints")
			}
		}
		return refusal{}
	}
}

// spreadScore likes domains with few of the Pod's kind, where that is only a wish.
func spreadScore(pod *corev1.Pod, fits []*nodeInfo, all cluster) []int64 {
	found := constraints(pod, all, corev1.ScheduleAnyway)
	if len(found) == 0 {
		return nil
	}
	raw := make([]int64, len(fits))
	for i, n := range fits {
		for _, c := range found {
			value, _ := n.domain(c.TopologyKey)
			raw[i] += c.counts[value]
		}
	}
	return ranks(raw, true)
}
