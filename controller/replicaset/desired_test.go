package replicaset

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Unix(1_000_000, 0)

func replicaSet(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "rs", Generation: 3},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{
				Labels: map[string]string{"app": "web", "v": "1"}, Annotations: map[string]string{"a": "b"}, Finalizers: []string{"f"},
			}},
		},
	}
}

// pod is a running, ready Pod on node1, an hour old.
func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Labels: map[string]string{"app": "web", "v": "1"},
		},
		Spec: corev1.PodSpec{NodeName: "node1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
		}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func readyFor(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-d)) }
}

func TestDesiredCount(t *testing.T) {
	for _, row := range []struct {
		want, have     int
		create, delete int
	}{
		{3, 0, 3, 0}, {3, 3, 0, 0}, {3, 5, 0, 2}, {0, 2, 0, 2}, {2000, 0, 500, 0}, {0, 600, 0, 500},
	} {
		var pods []*corev1.Pod
		for i := range row.have {
			pods = append(pods, pod(fmt.Sprint("p", i)))
		}
		plan := Desired(replicaSet(int32(row.want)), pods, func(*corev1.Pod) int { return 0 }, now)
		if plan.Create != row.create || len(plan.Delete) != row.delete {
			t.Errorf("want %d, have %d: create %d, delete %d", row.want, row.have, plan.Create, len(plan.Delete))
		}
	}
}

// TestDeletionOrder lists Pods from the first to go to the last; each differs from the
// next in one rule.
func TestDeletionOrder(t *testing.T) {
	cost := func(c string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: c} }
	}
	restarted := func(n int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
	}
	phase := func(ph corev1.PodPhase) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Status.Phase = ph } }
	onNode := func(n string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = n } }
	order := []*corev1.Pod{
		pod("unassigned", onNode(""), phase(corev1.PodPending), unready),
		pod("pending", phase(corev1.PodPending), unready),
		pod("unknown", phase(corev1.PodUnknown), unready),
		pod("not ready, restarted often", unready, restarted(5)),
		pod("not ready", unready),
		pod("cheap", cost("-1")),
		pod("on the crowded node", onNode("crowded")),
		pod("ready for a moment", readyFor(time.Second)),
		pod("restarted", restarted(1)),
		pod("young", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute)) }),
		pod("z"),
		pod("dear", cost("7")),
	}
	related := func(p *corev1.Pod) int {
		if p.Spec.NodeName == "crowded" {
			return 9
		}
		return 1
	}
	for n := 1; n < len(order); n++ {
		shuffled := slices.Clone(order)
		slices.Reverse(shuffled)
		plan := Desired(replicaSet(int32(len(order)-n)), shuffled, related, now)
		for i, got := range plan.Delete {
			if got != order[i] {
				t.Fatalf("of %d to delete, number %d is %q, want %q", n, i, got.Name, order[i].Name)
			}
		}
	}
	// Ages of the same magnitude: the UID decides, not the exact age.
	a, b := pod("a", readyFor(60*time.Minute)), pod("b", readyFor(59*time.Minute))
	if deletedFirst(a, b, 0, 0, now) >= 0 {
		t.Error("one minute of an hour made a difference")
	}
}

func TestStatus(t *testing.T) {
	rs := replicaSet(5)
	rs.Spec.MinReadySeconds = 30
	active := []*corev1.Pod{
		pod("available"), pod("unready", unready), pod("ready", readyFor(20*time.Second)), pod("just ready", readyFor(5*time.Second)),
		pod("relabelled", func(p *corev1.Pod) { p.Labels["v"] = "2" }),
	}
	status, again := Status(rs, active, []*corev1.Pod{pod("ending")}, nil, Plan{}, now)
	got := fmt.Sprint(status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas, *status.TerminatingReplicas, status.ObservedGeneration)
	if want := "5 4 4 2 1 3"; got != want {
		t.Errorf("replicas, labelled, ready, available, terminating, generation: %s, want %s", got, want)
	}
	if again != 10*time.Second {
		t.Errorf("looks again after %s, want 10s", again)
	}
	rs.Status, _ = Status(rs, active, nil, errors.New("no room"), Plan{Create: 1}, now)
	if c := rs.Status.Conditions; len(c) != 1 || c[0].Type != appsv1.ReplicaSetReplicaFailure || c[0].Reason != "FailedCreate" || c[0].Message != "no room" {
		t.Errorf("conditions %+v", c)
	}
	if status, _ := Status(rs, active, nil, nil, Plan{}, now); len(status.Conditions) != 0 {
		t.Errorf("the failure stayed: %+v", status.Conditions)
	}
}

func TestNewPod(t *testing.T) {
	rs := replicaSet(1)
	p := newPod(rs)
	if p.GenerateName != "web-" || p.Labels["v"] != "1" || p.Annotations["a"] != "b" || p.Finalizers[0] != "f" || !metav1.IsControlledBy(p, rs) {
		t.Errorf("%+v", p.ObjectMeta)
	}
	p.Labels["v"] = "changed"
	if rs.Spec.Template.Labels["v"] != "1" {
		t.Error("the Pod shares the template's labels")
	}
}
