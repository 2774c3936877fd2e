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

// A filter prepares for one Pod. The test it returns says why that Pod cannot go to a
// node; no test means that the filter has nothing against any.
type filter func(pod *corev1.Pod, all cluster) test

type test func(*nodeInfo) refusal

// refusal is what a filter has against a node, in upstream's words. The zero value is nothing.
type refusal struct {
	reasons []string
	forGood bool // it would be the same without the Pods that are there
}

func refuse(reasons ...string) refusal        { return refusal{reasons: reasons} }
func refuseForGood(reasons ...string) refusal { return refusal{reasons, true} }
func (r refusal) none() bool                  { return len(r.reasons) == 0 }

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
var scorers = []scorer{{3, taintScore}, {2, nodeAffinityScore}, {2, spreadScore}, {2, siblingScore}, {2, podAffinityScore}, {1, freeScore}}

// pick chooses the node for a Pod: of those it fits, the one with the best sum of scores;
// of equals that with the fewest Pods, and the first by name. nil means none, and why says
// what is against each.
//
// Kubernetes: breaks ties at random, and in a big cluster does not look at every node.
func pick(pod *corev1.Pod, all cluster) (node *corev1.Node, why refusals) {
	var fits []*nodeInfo
	why = refusals{}
	prepared := tests(pod, all)
	for _, n := range all.sorted() {
		if r := against(n, prepared); r.none() {
			fits = append(fits, n)
		} else {
			why[n.node.Name] = r
		}
	}
	if len(fits) == 0 {
		return nil, why
	}
	return best(pod, fits, all).node, nil
}

// tests are those of all filters for a Pod.
func tests(pod *corev1.Pod, all cluster) (prepared []test) {
	for _, f := range filters {
		if test := f(pod, all); test != nil {
			prepared = append(prepared, test)
		}
	}
	return prepared
}

// against is what the first test that fails has against a node.
func against(n *nodeInfo, tests []test) refusal {
	for _, test := range tests {
		if r := test(n); !r.none() {
			return r
		}
	}
	return refusal{}
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

// refusals are those of all nodes, by name.
type refusals map[string]refusal

// String counts the reasons, as the message of FailedScheduling does.
func (all refusals) String() string {
	if len(all) == 0 {
		return "no nodes available to schedule pods"
	}
	counts := map[string]int{}
	for _, r := range all {
		for _, reason := range r.reasons {
			counts[reason]++
		}
	}
	var reasons []string
	for reason, n := range counts {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(reasons)
	return fmt.Sprintf("0/%d nodes are available: %s.", len(all), strings.Join(reasons, ", "))
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
