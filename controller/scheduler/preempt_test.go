package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func important(priority int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority = &priority }
}

func TestPreempt(t *testing.T) {
	type pods = map[string][]*corev1.Pod
	only := func(name string) func(*corev1.Pod) { return selects("name", name) }
	for _, row := range []struct {
		name string
		put  pods // on nodes with one CPU each
		pod  *corev1.Pod
		want string // the node and who goes; or why nobody does
	}{
		{"nobody is less important", pods{"a1": {pod("x", asks("1"))}}, pod("p", asks("500m"), only("a1")),
			"0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."},
		{"somebody is", pods{"a1": {pod("x", asks("1"))}}, pod("p", asks("500m"), only("a1"), important(1)), "a1: x"},
		{"as few as possible", pods{"a1": {pod("x", asks("400m")), pod("y", asks("500m"), important(1))}}, pod("p", asks("500m"), only("a1"), important(2)), "a1: x"},
		{"the more important one stays", pods{"a1": {pod("x", asks("500m"), important(1)), pod("y", asks("500m"))}}, pod("p", asks("500m"), only("a1"), important(2)), "a1: y"},
		{"all of them", pods{"a1": {pod("x", asks("500m"), important(1)), pod("y", asks("500m"))}}, pod("p", asks("1"), only("a1"), important(2)), "a1: x y"},
		{"it would be of no use", pods{"a1": {pod("x", asks("500m"))}}, pod("p", asks("2"), only("a1"), important(1)),
			"0/4 nodes are available: 4 Preemption is not helpful for scheduling."},
		{"nor would this", pods{"a1": {pod("x", asks("500m")), pod("y", asks("500m"), important(2))}}, pod("p", asks("1"), only("a1"), important(1)),
			"0/4 nodes are available: 1 Insufficient cpu, 3 Preemption is not helpful for scheduling."},
		{"it does not want that", pods{"a1": {pod("x", asks("1"))}}, pod("p", asks("1"), only("a1"), important(1), func(p *corev1.Pod) {
			p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever)
		}), "not eligible due to preemptionPolicy=Never."},
		{"where it hurts least", pods{"a1": {pod("x", asks("1"), important(2))}, "a2": {pod("x", asks("1"), important(1))}, "b1": {pod("x", asks("1"), important(2))}, "z": {pod("x", asks("1"), important(3))}},
			pod("p", asks("1"), important(9)), "a2: x"},
		{"the fewest", pods{"a1": {pod("x", asks("500m")), pod("y", asks("500m"))}, "a2": {pod("x", asks("1"))}, "b1": {pod("x", asks("500m")), pod("y", asks("500m"))}, "z": {pod("x", asks("1"), important(1))}},
			pod("p", asks("1"), important(9)), "a2: x"},
		{"a host port", pods{"a1": {pod("x", hostPort), pod("y")}}, pod("p", hostPort, only("a1"), important(1)), "a1: x"},
		{"one that must be apart", pods{"a1": {pod("x", app("web"))}, "a2": {pod("y", app("db"))}}, pod("p", avoids(peers("web", "zone")), only("a1"), important(1)), "a1: x"},
		{"room is being made", pods{"a1": {pod("x", asks("1"), func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) })}},
			pod("p", asks("1"), only("a1"), important(1), func(p *corev1.Pod) { p.Status.NominatedNodeName = "a1" }),
			"not eligible due to a terminating pod on the nominated node."},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := outcome(row.pod, world(row.put)); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// outcome is where a Pod that fits nowhere gets room and who goes, or why nobody does.
func outcome(pod *corev1.Pod, all cluster) string {
	_, why := pick(pod, all)
	p, message := preempt(pod, all, why)
	if p == nil {
		return message
	}
	var names []string
	for _, v := range p.victims {
		names = append(names, v.Name)
	}
	return fmt.Sprintf("%s: %s", p.node.node.Name, strings.Join(names, " "))
}

// TestPreemptWithBudgets: a PodDisruptionBudget decides who goes before importance does,
// and is overrun where there is no other way.
func TestPreemptWithBudgets(t *testing.T) {
	since := func(minute int) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.StartTime = ptr.To(metav1.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC))
		}
	}
	half, whole, web := asks("500m"), asks("1"), app("web")
	budget := func(allowed int32, counted ...string) *policyv1.PodDisruptionBudget {
		b := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
			Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DisruptedPods: map[string]metav1.Time{}},
		}
		for _, name := range counted {
			b.Status.DisruptedPods[name] = metav1.Now()
		}
		return b
	}
	elsewhere := budget(0)
	elsewhere.Namespace = "other"
	empty := budget(0)
	empty.Spec.Selector = &metav1.LabelSelector{}
	type pods = map[string][]*corev1.Pod
	here := pods{"a1": {pod("x", half, web), pod("y", half, important(1))}}
	full := func(more ...*corev1.Pod) pods { // the other nodes are of no use
		put := pods{"a2": {pod("r", whole, important(9))}, "b1": {pod("s", whole, important(9))}, "z": {pod("t", whole, important(9))}}
		for _, p := range more {
			put["a1"] = append(put["a1"], p)
		}
		return put
	}
	for _, row := range []struct {
		name    string
		put     pods
		budgets []*policyv1.PodDisruptionBudget
		pod     *corev1.Pod
		want    string
	}{
		{"without one the less important goes", full(here["a1"]...), nil, pod("p", half, important(2)), "a1: x"},
		{"protected: the more important goes", full(here["a1"]...), []*policyv1.PodDisruptionBudget{budget(0)}, pod("p", half, important(2)), "a1: y"},
		{"one may go", full(here["a1"]...), []*policyv1.PodDisruptionBudget{budget(1)}, pod("p", half, important(2)), "a1: x"},
		{"it has been counted", full(here["a1"]...), []*policyv1.PodDisruptionBudget{budget(0, "x")}, pod("p", half, important(2)), "a1: x"},
		{"of another namespace", full(here["a1"]...), []*policyv1.PodDisruptionBudget{elsewhere}, pod("p", half, important(2)), "a1: x"},
		{"an empty selector protects nobody", full(here["a1"]...), []*policyv1.PodDisruptionBudget{empty}, pod("p", half, important(2)), "a1: x"},
		{"no other way", full(here["a1"]...), []*policyv1.PodDisruptionBudget{budget(0)}, pod("p", whole, important(2)), "a1: y x"},
		{"a node where none is overrun", pods{
			"a1": {pod("x", whole, web)}, "a2": {pod("y", whole, important(5))}, "b1": {pod("s", whole, important(9))}, "z": {pod("t", whole, important(9))},
		}, []*policyv1.PodDisruptionBudget{budget(0)}, pod("p", whole, important(8)), "a2: y"},
		{"the one that started last", pods{
			"a1": {pod("x", whole, since(1))}, "a2": {pod("y", whole, since(3))}, "b1": {pod("v", whole, since(2))}, "z": {pod("t", whole, important(9))},
		}, nil, pod("p", whole, important(8)), "a2: y"},
		{"of equals on a node the one that started last", full(pod("x", half, since(1)), pod("y", half, since(2))), nil, pod("p", half, important(8)), "a1: y"},
	} {
		t.Run(row.name, func(t *testing.T) {
			all := world(row.put)
			all.budgets = func() []*policyv1.PodDisruptionBudget { return row.budgets }
			if got := outcome(row.pod, all); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestAPlaceIsKept: what was made for one Pod is not taken by a less important one.
func TestAPlaceIsKept(t *testing.T) {
	s := newState(cluster{})
	s.sawNode(nil, node("a"))
	victim := pod("victim", asks("1"))
	s.schedule(victim)
	boss, thief, king := pod("boss", asks("1"), important(5)), pod("thief", asks("1"), important(4)), pod("king", asks("1"), important(6))
	if d := s.schedule(boss); d.room == nil || len(d.room.victims) != 1 || d.room.victims[0].Name != "victim" {
		t.Fatalf("decision %+v", d)
	}
	if woken := s.sawPod(victim, true); len(woken) != 1 {
		t.Fatalf("the victim's end wakes %v", woken)
	}
	if d := s.schedule(thief); d.node != "" || d.room != nil {
		t.Errorf("a less important Pod: %+v", d)
	}
	if d := s.schedule(boss); d.node != "a" {
		t.Errorf("the Pod whose place it is: %+v", d)
	}
	s.forget(boss)
	if d := s.schedule(king); d.node != "a" {
		t.Errorf("a more important Pod: %+v", d)
	}
}
