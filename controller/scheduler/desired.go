package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/controller/podstate"
)

// A filter prepares for one Pod. The test it returns says in upstream's words why that
// Pod cannot go to a node; no test means that the filter has nothing against any.
type filter func(pod *corev1.Pod, all cluster) (test func(*nodeInfo) []string)

// filters are asked in the order of upstream's plugins: people are told of the first that
// has something against a node.
var filters = []filter{cordon, taints, nodeAffinity, hostPorts, fit, spread, podAffinity}

// A scorer says how well each of the nodes that fit suits a Pod, from 0 to maxScore. nil
// means that it does not care.
type scorer struct {
	weight int64
	score  func(pod *corev1.Pod, fits []*nodeInfo, all cluster) []int64
}

const maxScore = 100

// scorers have upstream's weights.
//
// Kubernetes: has two more, for images that a node has already and for a use of its
// resources that is in balance.
var scorers = []scorer{{3, taintScore}, {2, nodeAffinityScore}, {2, spreadScore}, {2, podAffinityScore}, {1, freeScore}}

// pick chooses the node for a Pod: of those it fits, the one with the best sum of scores;
// of equals that with the fewest Pods, and the first by name. nil means none, and why says
// of how many nodes each reason holds.
//
// Kubernetes: breaks ties at random, and in a big cluster does not look at every node.
func pick(pod *corev1.Pod, all cluster) (node *corev1.Node, why map[string]int) {
	var fits []*nodeInfo
	why = map[string]int{}
	prepared := tests(pod, all)
	for _, n := range all.sorted() {
		reasons := against(n, prepared)
		for _, reason := range reasons {
			why[reason]++
		}
		if len(reasons) == 0 {
			fits = append(fits, n)
		}
	}
	if len(fits) == 0 {
		return nil, why
	}
	return best(pod, fits, all).node, nil
}

// tests are those of all filters for a Pod.
func tests(pod *corev1.Pod, all cluster) (prepared []func(*nodeInfo) []string) {
	for _, f := range filters {
		if test := f(pod, all); test != nil {
			prepared = append(prepared, test)
		}
	}
	return prepared
}

// against is what the first test that fails has against a node.
func against(n *nodeInfo, tests []func(*nodeInfo) []string) []string {
	for _, test := range tests {
		if reasons := test(n); len(reasons) > 0 {
			return reasons
		}
	}
	return nil
}

func best(pod *corev1.Pod, fits []*nodeInfo, all cluster) *nodeInfo {
	sums := make([]int64, len(fits))
	for _, s := range scorers {
		for i, points := range s.score(pod, fits, all) {
			sums[i] += s.weight * points
		}
	}
	winner := 0
	for i := range fits {
		if sums[i] > sums[winner] || sums[i] == sums[winner] && len(fits[i].pods) < len(fits[winner].pods) {
			winner = i
		}
	}
	return fits[winner]
}

// shares are points in proportion to the most; fewer turns them around.
func shares(raw []int64, fewer bool) []int64 {
	return scale(raw, 0, slices.Max(raw), fewer)
}

// ranks are points between the least, 0, and the most; fewer turns them around.
func ranks(raw []int64, fewer bool) []int64 {
	return scale(raw, slices.Min(raw), slices.Max(raw), fewer)
}

func scale(raw []int64, least, most int64, fewer bool) []int64 {
	if least == most {
		return nil
	}
	points := make([]int64, len(raw))
	for i := range raw {
		points[i] = (raw[i] - least) * maxScore / (most - least)
		if fewer {
			points[i] = maxScore - points[i]
		}
	}
	return points
}

// explain is the message of FailedScheduling.
func explain(all cluster, why map[string]int) string {
	total := 0
	for _, n := range all.nodes {
		if n.node != nil {
			total++
		}
	}
	if total == 0 {
		return "no nodes available to schedule pods"
	}
	var reasons []string
	for reason, n := range why {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(reasons)
	return fmt.Sprintf("0/%d nodes are available: %s.", total, strings.Join(reasons, ", "))
}

// unschedulable is the PodScheduled condition of a Pod that fits nowhere, and whether
// it differs from the one the Pod has.
func unschedulable(pod *corev1.Pod, message string, now metav1.Time) (c corev1.PodCondition, changed bool) {
	c = corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
		Reason: corev1.PodReasonUnschedulable, Message: message, LastTransitionTime: now,
	}
	old := podstate.Condition(pod, c.Type)
	if old == nil || old.Status != c.Status {
		return c, true
	}
	c.LastTransitionTime = old.LastTransitionTime // it was false before
	return c, old.Reason != c.Reason || old.Message != c.Message
}

// mayHelp reports whether a node's change can make room for a Pod that found none.
// Heartbeats change the node too, every few seconds, and must not count.
func mayHelp(old, cur *corev1.Node) bool {
	return old == nil ||
		old.Spec.Unschedulable != cur.Spec.Unschedulable ||
		!maps.Equal(old.Labels, cur.Labels) ||
		!slices.EqualFunc(old.Spec.Taints, cur.Spec.Taints, func(a, b corev1.Taint) bool { return a.MatchTaint(&b) && a.Value == b.Value }) ||
		!maps.EqualFunc(old.Status.Allocatable, cur.Status.Allocatable, resourceEqual)
}
