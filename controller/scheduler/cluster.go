package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is what a decision is made from.
type cluster struct {
	nodes      map[string]*nodeInfo
	namespaces func(name string) labels.Set // a namespace's labels; nil: nobody knows
	budgets    func() []*policyv1.PodDisruptionBudget
}

// sorted lists the nodes that exist, by name.
func (c cluster) sorted() []*nodeInfo {
	var all []*nodeInfo
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		if n := c.nodes[name]; n.node != nil {
			all = append(all, n)
		}
	}
	return all
}

// nodeInfo is a node and what runs there, or is about to.
type nodeInfo struct {
	node *corev1.Node // nil: Pods name a node that does not exist
	pods map[types.UID]*corev1.Pod
	used corev1.ResourceList // what they ask for
	load corev1.ResourceList // the same, with a guess where one does not say
	// choosy are the Pods that care beside which others they are. Mostly there are none.
	choosy map[types.UID]*corev1.Pod
	kin    map[types.UID]int64 // how many Pods of a controller there are that do not end
}

func newNodeInfo() *nodeInfo {
	return &nodeInfo{
		pods: map[types.UID]*corev1.Pod{}, used: corev1.ResourceList{}, load: corev1.ResourceList{},
		choosy: map[types.UID]*corev1.Pod{}, kin: map[types.UID]int64{},
	}
}

func (n *nodeInfo) add(pod *corev1.Pod) {
	n.pods[pod.UID] = pod
	if isChoosy(pod) {
		n.choosy[pod.UID] = pod
	}
	n.countKin(pod, 1)
	sum(n.used, requests(pod))
	sum(n.load, guess(pod))
}

func (n *nodeInfo) remove(pod *corev1.Pod) {
	there, ok := n.pods[pod.UID]
	if !ok {
		return
	}
	delete(n.pods, pod.UID)
	delete(n.choosy, pod.UID)
	n.countKin(there, -1)
	for _, less := range []struct{ from, what corev1.ResourceList }{{n.used, requests(there)}, {n.load, guess(there)}} {
		for name, q := range less.what {
			rest := less.from[name]
			rest.Sub(q)
			less.from[name] = rest
		}
	}
}

func (n *nodeInfo) countKin(pod *corev1.Pod, change int64) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || pod.DeletionTimestamp != nil {
		return
	}
	if n.kin[owner.UID] += change; n.kin[owner.UID] == 0 {
		delete(n.kin, owner.UID)
	}
}

func sum(to, more corev1.ResourceList) {
	for name, q := range more {
		total := to[name]
		total.Add(q)
		to[name] = total
	}
}

// domain is the part of the cluster that a node is in by the label key.
func (n *nodeInfo) domain(key string) (value string, ok bool) {
	value, ok = n.node.Labels[key]
	return value, ok
}
