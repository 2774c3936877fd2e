package scheduler

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// TestSiblings: replicas are spread though nobody asks for it, unless something weightier
// speaks against it.
func TestSiblings(t *testing.T) {
	of := func(controller string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(controller), Controller: ptr.To(true)}}
		}
	}
	ends := func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }
	web, other := pod("web", of("web")), pod("other", of("other"))
	type pods = map[string][]*corev1.Pod
	for _, row := range []struct {
		name string
		put  pods
		pod  *corev1.Pod
		want string
	}{
		{"not beside its sibling", pods{"a1": {web}, "a2": {other, other}, "b1": {other, other}, "z": {other, other}}, pod("p", of("web")), "b1"},
		{"nobody's Pod goes where there is room", pods{"a1": {web}, "a2": {other, other}, "b1": {other, other}, "z": {other, other}}, pod("p"), "a1"},
		{"beside the fewest", pods{"a1": {web, web}, "a2": {web}, "b1": {web, web}, "z": {web, web}}, pod("p", of("web")), "a2"},
		{"another zone first", pods{"a1": {web}, "b1": {other}, "z": {web}}, pod("p", of("web")), "b1"},
		{"one that ends is none", pods{"a1": {pod("x", of("web"), ends)}, "a2": {web}, "b1": {web, other}, "z": {web, other}}, pod("p", of("web")), "a1"},
		{"what it asks for itself counts instead", pods{"a1": {web}, "a2": {other, other}, "b1": {other, other}, "z": {other, other}},
			pod("p", of("web"), spreads(corev1.ScheduleAnyway, 1)), "a1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			all := world(row.put)
			for name, n := range all.nodes {
				n.node.Labels[corev1.LabelHostname] = name
				n.node.Labels[corev1.LabelTopologyZone] = name[:1]
			}
			if got := verdict(row.pod, all); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestKin: what was counted for a Pod is taken back with it, also when it ends meanwhile.
func TestKin(t *testing.T) {
	s := newState(cluster{})
	s.sawNode(nil, node("a"))
	p := pod("p", func(p *corev1.Pod) {
		p.Spec.NodeName = "a"
		p.OwnerReferences = []metav1.OwnerReference{{UID: "web", Controller: ptr.To(true)}}
	})
	s.sawPod(p, false)
	if got := s.nodes["a"].kin["web"]; got != 1 {
		t.Errorf("%d siblings, want 1", got)
	}
	ending := p.DeepCopy()
	ending.DeletionTimestamp = ptr.To(metav1.Now())
	s.sawPod(ending, false)
	if len(s.nodes["a"].kin) != 0 {
		t.Errorf("siblings %v of a Pod that ends", s.nodes["a"].kin)
	}
	s.sawPod(ending, true)
	if len(s.nodes["a"].kin) != 0 {
		t.Errorf("siblings %v without any Pod", s.nodes["a"].kin)
	}
}
