package scheduler

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/loop"
)

func node(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourcePods: resource.MustParse("3"), corev1.ResourceCPU: resource.MustParse("1"),
		}},
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func taint(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)}}
	for _, f := range change {
		f(p)
	}
	return p
}

func tolerate(key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
	}
}

func selects(k, v string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{k: v} }
}

func asks(cpu string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
		}}}
	}
}

func affinity(op corev1.NodeSelectorOperator, values ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "name", Operator: op, Values: values}}}},
		}}}
	}
}

func hostPort(p *corev1.Pod) {
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 80}}}}
}

func TestPick(t *testing.T) {
	type load map[*corev1.Node]int // number of Pods there
	keeper := node("keeper")       // its Pods have host port 80
	for _, row := range []struct {
		name  string
		nodes load
		pod   *corev1.Pod
		want  string
	}{
		{"fewest pods", load{node("a"): 2, node("b"): 1, node("c"): 2}, pod("p"), "b"},
		{"of equals the first by name", load{node("b"): 1, node("a"): 1}, pod("p"), "a"},
		{"cordoned", load{node("a", cordoned): 0, node("b"): 1}, pod("p"), "b"},
		{"cordoned, tolerated", load{node("a", cordoned): 0, node("b"): 1}, pod("p", tolerate(corev1.TaintNodeUnschedulable)), "a"},
		{"tainted NoSchedule", load{node("a", taint("x", corev1.TaintEffectNoSchedule)): 0, node("b"): 1}, pod("p"), "b"},
		{"tainted NoExecute", load{node("a", taint("x", corev1.TaintEffectNoExecute)): 0, node("b"): 1}, pod("p"), "b"},
		{"tainted and tolerated", load{node("a", taint("x", corev1.TaintEffectNoSchedule)): 0, node("b"): 1}, pod("p", tolerate("x")), "a"},
		{"PreferNoSchedule: rather not", load{node("a", taint("x", corev1.TaintEffectPreferNoSchedule)): 0, node("b"): 1}, pod("p"), "b"},
		{"PreferNoSchedule: if it must be", load{node("a", taint("x", corev1.TaintEffectPreferNoSchedule)): 0}, pod("p"), "a"},
		{"nodeSelector", load{node("a"): 0, node("b"): 2}, pod("p", selects("name", "b")), "b"},
		{"required affinity", load{node("a"): 0, node("b"): 2}, pod("p", affinity(corev1.NodeSelectorOpNotIn, "a")), "b"},
		{"full", load{node("a"): 3, node("b", func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("9") }): 5}, pod("p"), "b"},
		{"a node that says nothing takes pods", load{node("a", func(n *corev1.Node) { n.Status = corev1.NodeStatus{} }): 200}, pod("p"), "a"},
		{"a host port", load{node("a"): 1, node("b"): 2}, pod("p", hostPort), "a"},
		{"a host port that is taken", load{keeper: 1, node("z"): 2}, pod("p", hostPort), "z"},
		{"a host port that is taken everywhere", load{keeper: 1}, pod("p", hostPort),
			"0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{"no nodes", load{}, pod("p"), "no nodes available to schedule pods"},
		{"reasons are counted", load{
			node("a", cordoned): 0, node("b", taint("x", corev1.TaintEffectNoSchedule)): 0, node("c"): 0, node("d"): 0,
		}, pod("p", selects("disk", "ssd")),
			"0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector."},
		{"every shortage counts", load{node("a"): 3, node("b"): 0}, pod("p", asks("2")), "0/2 nodes are available: 1 Too many pods, 2 Insufficient cpu."},
	} {
		t.Run(row.name, func(t *testing.T) {
			all := cluster{nodes: map[string]*nodeInfo{}}
			for n, pods := range row.nodes {
				info := newNodeInfo()
				info.node = n
				for i := range pods {
					p := pod(fmt.Sprint(n.Name, i))
					if n == keeper {
						hostPort(p)
					}
					info.add(p)
				}
				all.nodes[n.Name] = info
			}
			if got := verdict(row.pod, all); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// verdict is the node that a Pod gets, or why it gets none.
func verdict(p *corev1.Pod, all cluster) string {
	n, why := pick(p, all)
	if n != nil {
		return n.Name
	}
	return why.String()
}

// TestBurst places Pods faster than any of them shows up on its node.
func TestBurst(t *testing.T) {
	s := newState(cluster{})
	for _, name := range []string{"a", "b", "c"} {
		s.sawNode(nil, node(name))
	}
	per := map[string]int{}
	var last *corev1.Pod
	for i := range 9 {
		last = pod(fmt.Sprint("p", i))
		per[s.schedule(last).node]++
		if again := s.schedule(last); again != (decision{}) {
			t.Fatalf("placed twice: %+v", again)
		}
	}
	if want := map[string]int{"a": 3, "b": 3, "c": 3}; !maps.Equal(per, want) {
		t.Fatalf("pods per node: %v, want %v", per, want)
	}
	waiting := pod("waiting")
	if d := s.schedule(waiting); d.node != "" || d.message != "0/3 nodes are available: 3 Too many pods. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod." {
		t.Fatalf("placed: %+v", d)
	}
	wake := func(what string, got []loop.Name, want int) {
		t.Helper()
		if len(got) != want {
			t.Errorf("%s wakes %v", what, got)
		}
	}
	heartbeat := node("a")
	heartbeat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	wake("a heartbeat", s.sawNode(node("a"), heartbeat), 0)
	wake("a binding that failed", s.forget(last), 1)
	if s.schedule(waiting).node == "" {
		t.Error("no room although a binding failed")
	}
	s.schedule(last)
	ended := pod("p0", func(p *corev1.Pod) { p.Status.Phase, p.Spec.NodeName = corev1.PodSucceeded, "a" })
	wake("a Pod that ended", s.sawPod(ended, false), 1)
	wake("the same Pod's deletion", s.sawPod(ended, true), 0)
}

// TestPodsBeforeTheirNode: informers fill in any order.
func TestPodsBeforeTheirNode(t *testing.T) {
	s := newState(cluster{})
	for i := range 3 {
		s.sawPod(pod(fmt.Sprint("p", i), func(p *corev1.Pod) { p.Spec.NodeName = "a" }), false)
	}
	if message := s.schedule(pod("x")).message; message != "no nodes available to schedule pods" {
		t.Errorf("message %q", message)
	}
	if woken := s.sawNode(nil, node("a")); len(woken) != 1 {
		t.Errorf("a new node wakes %v", woken)
	}
	if message := s.schedule(pod("x")).message; !strings.HasPrefix(message, "0/1 nodes are available: 1 Too many pods. ") {
		t.Errorf("message %q", message)
	}
	s.sawNode(node("a"), nil)
	if message := s.schedule(pod("x")).message; message != "no nodes available to schedule pods" {
		t.Errorf("message %q", message)
	}
}

func TestUnschedulableCondition(t *testing.T) {
	p := pod("p")
	set := func(message string, at int64) (int64, bool) {
		c, changed := unschedulable(p, message, metav1.Unix(at, 0))
		p.Status.Conditions = []corev1.PodCondition{c}
		return c.LastTransitionTime.Unix(), changed
	}
	for _, row := range []struct {
		message    string
		at         int64
		transition int64
		changed    bool
	}{
		{"a", 1, 1, true}, {"a", 2, 1, false}, {"b", 3, 1, true},
	} {
		if transition, changed := set(row.message, row.at); transition != row.transition || changed != row.changed {
			t.Errorf("%+v: transition %d, changed %v", row, transition, changed)
		}
	}
}
