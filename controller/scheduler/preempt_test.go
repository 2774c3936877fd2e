package scheduler

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
		want string
	}{
		{"nobody is less important", pods{"a1": {pod("x", asks("1"))}}, pod("p", asks("500m"), only("a1")), ""},
		{"somebody is", pods{"a1": {pod("x", asks("1"))}}, pod("p", asks("500m"), only("a1"), important(1)), "a1: x"},
		{"as few as possible", pods{"a1": {pod("x", asks("400m")), pod("y", asks("500m"), important(1))}}, pod("p", asks("500m"), only("a1"), important(2)), "a1: x"},
		{"the more important one stays", pods{"a1": {pod("x", asks("500m"), important(1)), pod("y", asks("500m"))}}, pod("p", asks("500m"), only("a1"), important(2)), "a1: y"},
		{"all of them", pods{"a1": {pod("x", asks("500m"), important(1)), pod("y", asks("500m"))}}, pod("p", asks("1"), only("a1"), important(2)), "a1: x y"},
		{"it would be of no use", pods{"a1": {pod("x", asks("500m"))}}, pod("p", asks("2"), only("a1"), important(1)), ""},
		{"it does not want that", pods{"a1": {pod("x", asks("1"))}}, pod("p", asks("1"), only("a1"), important(1), func(p *corev1.Pod) {
			p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever)
		}), ""},
		{"where it hurts least", pods{"a1": {pod("x", asks("1"), important(2))}, "a2": {pod("x", asks("1"), important(1))}, "b1": {pod("x", asks("1"), important(2))}, "z": {pod("x", asks("1"), important(3))}},
			pod("p", asks("1"), important(9)), "a2: x"},
		{"the fewest", pods{"a1": {pod("x", asks("500m")), pod("y", asks("500m"))}, "a2": {pod("x", asks("1"))}, "b1": {pod("x", asks("500m")), pod("y", asks("500m"))}, "z": {pod("x", asks("1"), important(1))}},
			pod("p", asks("1"), important(9)), "a2: x"},
		{"a host port", pods{"a1": {pod("x", hostPort), pod("y")}}, pod("p", hostPort, only("a1"), important(1)), "a1: x"},
		{"one that must be apart", pods{"a1": {pod("x", app("web"))}, "a2": {pod("y", app("db"))}}, pod("p", avoids(peers("web", "zone")), only("a1"), important(1)), "a1: x"},
		{"room is being made", pods{"a1": {pod("x", asks("1"), func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) })}},
			pod("p", asks("1"), only("a1"), important(1), func(p *corev1.Pod) { p.Status.NominatedNodeName = "a1" }), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := ""
			if p := preempt(row.pod, world(row.put)); p != nil {
				var names []string
				for _, v := range p.victims {
					names = append(names, v.Name)
				}
				got = fmt.Sprintf("%s: %s", p.node.node.Name, strings.Join(names, " "))
			}
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestAPlaceIsKept: what was made for one Pod is not taken by a less important one.
func TestAPlaceIsKept(t *testing.T) {
	s := newState(nil)
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
