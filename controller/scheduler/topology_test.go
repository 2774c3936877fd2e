package scheduler

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// world is a cluster of the nodes a1 and a2 in zone a, b1 in zone b, and z without a zone.
// The Pods of each node are in put.
func world(put map[string][]*corev1.Pod) cluster {
	all := cluster{nodes: map[string]*nodeInfo{}, namespaces: func(name string) labels.Set { return labels.Set{"team": name} }}
	for name, zone := range map[string]string{"a1": "a", "a2": "a", "b1": "b", "z": ""} {
		info := newNodeInfo()
		info.node = node(name, func(n *corev1.Node) {
			n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("100")
			if zone != "" {
				n.Labels["zone"] = zone
			}
		})
		for i, p := range put[name] {
			p = p.DeepCopy()
			p.UID = types.UID(fmt.Sprint(name, i))
			info.add(p)
		}
		all.nodes[name] = info
	}
	return all
}

func app(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"app": name} }
}

func spreads(kind corev1.UnsatisfiableConstraintAction, skew int32, change ...func(*corev1.TopologySpreadConstraint)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: skew, TopologyKey: "zone", WhenUnsatisfiable: kind,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}
		for _, f := range change {
			f(&c)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
	}
}

func peers(name, key string, change ...func(*corev1.PodAffinityTerm)) corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}}
	for _, f := range change {
		f(&t)
	}
	return t
}

func affine(change func(*corev1.Affinity)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.Spec.Affinity == nil {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}, NodeAffinity: &corev1.NodeAffinity{}}
		}
		change(p.Spec.Affinity)
	}
}

func beside(t corev1.PodAffinityTerm) func(*corev1.Pod) {
	return affine(func(a *corev1.Affinity) {
		a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, t)
	})
}

func avoids(t corev1.PodAffinityTerm) func(*corev1.Pod) {
	return affine(func(a *corev1.Affinity) {
		a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, t)
	})
}

func prefers(weight int32, t corev1.PodAffinityTerm) func(*corev1.Pod) {
	return affine(func(a *corev1.Affinity) {
		term := corev1.WeightedPodAffinityTerm{Weight: max(weight, -weight), PodAffinityTerm: t}
		if weight > 0 {
			a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, term)
		} else {
			a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, term)
		}
	})
}

func prefersNode(name string) func(*corev1.Pod) {
	return affine(func(a *corev1.Affinity) {
		a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: corev1.NodeSelectorTerm{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}}}}}}
	})
}

func inNamespace(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Namespace = name } }

func TestTopology(t *testing.T) {
	web := pod("web", app("web"))
	ending := pod("web", app("web"), func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) })
	elsewhere := pod("web", app("web"), inNamespace("other"))
	many := func(p *corev1.Pod, n int) (all []*corev1.Pod) {
		for range n {
			all = append(all, p)
		}
		return all
	}
	const must, may = corev1.DoNotSchedule, corev1.ScheduleAnyway
	type pods = map[string][]*corev1.Pod
	for _, row := range []struct {
		name string
		put  pods
		pod  *corev1.Pod
		want string
	}{
		{"spread: the emptier zone", pods{"a1": {web}}, pod("p", app("web"), spreads(must, 1)), "b1"},
		{"spread: another zone's turn", pods{"a1": {web}, "b1": many(web, 2)}, pod("p", app("web"), spreads(must, 1)), "a2"},
		{"spread: those that end do not count", pods{"a1": {web, ending}, "b1": {web, web}}, pod("p", app("web"), spreads(must, 1)), "a2"},
		{"spread: nor those of other namespaces", pods{"a1": {elsewhere, elsewhere}, "b1": {web}}, pod("p", app("web"), spreads(must, 1)), "a2"},
		{"spread: a Pod that the selector does not mean", pods{"a1": {web, pod("x"), pod("x")}, "a2": many(pod("x"), 3), "b1": many(web, 2)}, pod("p", spreads(must, 1)), "b1"},
		{"spread: a bigger skew", pods{"b1": {web}, "a1": {pod("x"), pod("y")}, "a2": {pod("x"), pod("y")}}, pod("p", app("web"), spreads(must, 2)), "b1"},
		{"spread: more domains wanted than there are", pods{"a1": {web}, "b1": {web}},
			pod("p", app("web"), spreads(must, 1, func(c *corev1.TopologySpreadConstraint) { c.MinDomains = ptr.To[int32](3) })),
			"0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 3 node(s) didn't match pod topology spread constraints."},
		{"spread: only zones that the Pod may go to count", pods{"a1": {web}}, pod("p", app("web"), spreads(must, 1), affinity(corev1.NodeSelectorOpIn, "a1", "a2")), "a2"},
		{"spread: all zones count", pods{"a1": {web}},
			pod("p", app("web"), affinity(corev1.NodeSelectorOpIn, "a1", "a2"), spreads(must, 1, func(c *corev1.TopologySpreadConstraint) {
				c.NodeAffinityPolicy = ptr.To(corev1.NodeInclusionPolicyIgnore)
			})),
			"0/4 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod topology spread constraints."},
		{"spread: by the Pod's own version", pods{"a1": {pod("v1", app("web"))}, "b1": {pod("v2", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "web", "v": "2"} })}},
			pod("p", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "web", "v": "2"} },
				spreads(must, 1, func(c *corev1.TopologySpreadConstraint) { c.MatchLabelKeys = []string{"v"} })), "a2"},
		{"spread: a wish", pods{"a1": {web}, "z": many(pod("x"), 9)}, pod("p", app("web"), spreads(may, 1)), "b1"},

		{"near: the same zone", pods{"a1": {web}}, pod("p", beside(peers("web", "zone"))), "a2"},
		{"near: the same node", pods{"a1": {web}}, pod("p", beside(peers("web", "name"))), "a1"},
		{"near: nobody there", nil, pod("p", beside(peers("web", "zone"))), "0/4 nodes are available: 4 node(s) didn't match pod affinity rules."},
		{"near: the first of its kind", nil, pod("p", app("web"), beside(peers("web", "zone"))), "a1"},
		{"near: not of another namespace", pods{"a1": {elsewhere}}, pod("p", beside(peers("web", "zone"))), "0/4 nodes are available: 4 node(s) didn't match pod affinity rules."},
		{"near: of a named namespace", pods{"b1": {elsewhere}}, pod("p", beside(peers("web", "zone", func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"other"} }))), "b1"},
		{"near: of namespaces with a label", pods{"b1": {elsewhere}, "a1": {web}}, pod("p", beside(peers("web", "zone", func(t *corev1.PodAffinityTerm) {
			t.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "other"}}
		}))), "b1"},
		{"near: of any namespace", pods{"b1": {elsewhere}}, pod("p", beside(peers("web", "zone", func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = &metav1.LabelSelector{} }))), "b1"},
		{"near: both", pods{"a1": {web}, "a2": {pod("db", app("db"))}, "b1": {web, pod("both", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "web", "tier": "x"} })}},
			pod("p", beside(peers("web", "zone")), beside(corev1.PodAffinityTerm{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "x"}}})), "b1"},

		{"apart: another zone", pods{"a1": {web}, "z": many(pod("x"), 9)}, pod("p", avoids(peers("web", "zone"))), "b1"},
		{"apart: everywhere taken", pods{"a1": {web}, "a2": {web}, "b1": {web}, "z": {web}}, pod("p", avoids(peers("web", "name"))),
			"0/4 nodes are available: 4 node(s) didn't match pod anti-affinity rules."},
		{"apart: those there want it", pods{"a1": {pod("q", avoids(peers("web", "zone")))}, "b1": {pod("q", avoids(peers("web", "zone")))}, "z": {pod("q", avoids(peers("web", "name")))}},
			pod("p", app("web")), "0/4 nodes are available: 4 node(s) didn't satisfy existing pods anti-affinity rules."},
		{"apart: those there do not mean this one", pods{"a1": {pod("q", avoids(peers("web", "zone")))}, "a2": {pod("x")}, "b1": {pod("x"), pod("y")}, "z": {pod("x"), pod("y")}},
			pod("p", app("db")), "a1"},

		{"wish: near", pods{"b1": {web, web, web}}, pod("p", prefers(1, peers("web", "zone"))), "b1"},
		{"wish: apart", pods{"a1": {web}, "z": {web}}, pod("p", prefers(-1, peers("web", "zone")), prefers(-1, peers("web", "name"))), "b1"},
		{"wish: theirs", pods{"b1": {pod("q", prefers(10, peers("web", "zone")))}}, pod("p", app("web")), "b1"},
		{"wish: the heavier one", pods{"b1": {web}, "a2": {pod("db", app("db"))}}, pod("p", prefers(1, peers("web", "name")), prefers(9, peers("db", "name"))), "a2"},
		{"wish: a node", pods{"a2": {web, web}}, pod("p", prefersNode("a2")), "a2"},
		{"room: the node with more of it", pods{"a1": {pod("x", asks("100m"))}, "a2": {pod("x", asks("900m"))}, "b1": {pod("x", asks("500m"))}, "z": {pod("x", asks("600m"))}},
			pod("p", asks("50m")), "a1"},
		{"room: a Pod that says nothing is thought to need some", pods{
			"a1": {pod("x", asks("50m"))}, "a2": {pod("x", func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{{}} })}, "b1": {pod("x", asks("90m"))}, "z": {pod("x", asks("95m"))}},
			pod("p"), "a1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := verdict(row.pod, world(row.put)); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestPeersWake: a Pod that waits for another one is tried again when that comes.
func TestPeersWake(t *testing.T) {
	s := newState(cluster{})
	s.sawNode(nil, node("a"))
	s.schedule(pod("near", beside(peers("web", "name"))))
	s.schedule(pod("greedy", asks("9")))
	web := pod("web", app("web"))
	if d := s.schedule(web); d.node != "a" {
		t.Fatalf("placed: %+v", d)
	}
	bound := web.DeepCopy()
	bound.Spec.NodeName = "a"
	if woken := s.sawPod(bound, false); len(woken) != 1 || woken[0].Name != "near" {
		t.Errorf("its peer wakes %v", woken)
	}
	if d := s.schedule(pod("near", beside(peers("web", "name")))); d.node != "a" {
		t.Errorf("not placed: %+v", d)
	}
	if woken := s.sawPod(bound, false); len(woken) != 0 {
		t.Errorf("a Pod that did not change wakes %v", woken)
	}
	if woken := s.sawNamespace(); len(woken) != 1 {
		t.Errorf("a namespace's labels wake %v", woken)
	}
}
