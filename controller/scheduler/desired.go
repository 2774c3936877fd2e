package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"orrery.example.org/api"
	"orrery.example.org/controller/podstate"
)

// nodeInfo is a node and what runs there, or is about to.
type nodeInfo struct {
	node *corev1.Node // nil: Pods name a node that does not exist
	pods map[types.UID]*corev1.Pod
	used corev1.ResourceList
}

func newNodeInfo() *nodeInfo {
	return &nodeInfo{pods: map[types.UID]*corev1.Pod{}, used: corev1.ResourceList{}}
}

func (n *nodeInfo) add(pod *corev1.Pod) {
	n.pods[pod.UID] = pod
	for name, q := range requests(pod) {
		sum := n.used[name]
		sum.Add(q)
		n.used[name] = sum
	}
}

func (n *nodeInfo) remove(pod *corev1.Pod) {
	there, ok := n.pods[pod.UID]
	if !ok {
		return
	}
	delete(n.pods, pod.UID)
	for name, q := range requests(there) {
		rest := n.used[name]
		rest.Sub(q)
		n.used[name] = rest
	}
}

func requests(pod *corev1.Pod) corev1.ResourceList {
	return resource.PodRequests(pod, resource.PodResourcesOptions{})
}

// pick chooses the node for a Pod: of those it fits, the one with the fewest Pods,
// and of equals the first by name. nil means none, and why says so per node.
//
// Kubernetes: upstream scores the nodes that fit by a dozen plugins (free resources,
// spreading, image locality, …) and breaks ties at random.
func pick(pod *corev1.Pod, nodes map[string]*nodeInfo) (node *corev1.Node, why map[string]int) {
	var best *nodeInfo
	why = map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[name]
		if n.node == nil {
			continue
		}
		if reasons := unfit(pod, n); len(reasons) > 0 {
			for _, reason := range reasons {
				why[reason]++
			}
			continue
		}
		if best == nil || better(pod, n, best) {
			best = n
		}
	}
	if best == nil {
		return nil, why
	}
	return best.node, nil
}

// better compares by taints that ask to be avoided, then by the number of Pods.
func better(pod *corev1.Pod, a, b *nodeInfo) bool {
	return cmp.Or(
		cmp.Compare(untolerated(pod, a.node, corev1.TaintEffectPreferNoSchedule), untolerated(pod, b.node, corev1.TaintEffectPreferNoSchedule)),
		cmp.Compare(len(a.pods), len(b.pods)),
	) < 0
}

// unfit says why a Pod cannot go to a node, in upstream's words and in the order of
// its plugins: the first kind of obstacle is what people are told.
func unfit(pod *corev1.Pod, n *nodeInfo) []string {
	cordoned := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	switch {
	case n.node.Spec.Unschedulable && !tolerates(pod, &cordoned):
		return []string{"node(s) were unschedulable"}
	case untolerated(pod, n.node, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute) > 0:
		return []string{"node(s) had untolerated taint(s)"}
	case !affine(pod, n.node):
		return []string{"node(s) didn't match Pod's node affinity/selector"}
	case !portsFree(pod, n):
		return []string{"node(s) didn't have free ports for the requested pod ports"}
	}
	return insufficient(pod, n)
}

func portsFree(pod *corev1.Pod, n *nodeInfo) bool {
	ports := api.HostPorts(&pod.Spec)
	if len(ports) == 0 {
		return true
	}
	for _, other := range n.pods {
		if api.HostPortsClash(ports, api.HostPorts(&other.Spec)) {
			return false
		}
	}
	return true
}

func affine(pod *corev1.Pod, node *corev1.Node) bool {
	ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return ok && err == nil
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

// insufficient lists the resources that the Pod asks for and the node has too little of.
// A node that says nothing about a resource but Pods is taken to have none of it.
func insufficient(pod *corev1.Pod, n *nodeInfo) []string {
	var reasons []string
	allocatable := n.node.Status.Allocatable
	if limit, ok := allocatable[corev1.ResourcePods]; ok && int64(len(n.pods)) >= limit.Value() {
		reasons = append(reasons, "Too many pods")
	}
	want := requests(pod)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		q := want[name]
		if q.IsZero() {
			continue
		}
		free := allocatable[name].DeepCopy()
		free.Sub(n.used[name])
		if free.Cmp(q) < 0 {
			reasons = append(reasons, fmt.Sprintf("Insufficient %s", name))
		}
	}
	return reasons
}

// explain is the message of FailedScheduling.
func explain(nodes map[string]*nodeInfo, why map[string]int) string {
	total := 0
	for _, n := range nodes {
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
