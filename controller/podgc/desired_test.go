package podgc

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(name, node string, phase corev1.PodPhase, created int64) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(created, 0)},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
	}
}

func TestOrphaned(t *testing.T) {
	exists := func(name string) bool { return name == "node1" }
	mirror := pod("m", "control-plane", corev1.PodRunning, 1)
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	for _, row := range []struct {
		what string
		pod  *corev1.Pod
		want bool
	}{
		{"on a node", pod("a", "node1", corev1.PodRunning, 1), false},
		{"on none yet", pod("a", "", corev1.PodPending, 1), false},
		{"on one that is gone", pod("a", "node2", corev1.PodRunning, 1), true},
		{"a mirror Pod", mirror, false},
	} {
		if got := orphaned(row.pod, exists); got != row.want {
			t.Errorf("%s: %v", row.what, got)
		}
	}
}

func TestExcess(t *testing.T) {
	got := excess([]*corev1.Pod{
		pod("new", "n", corev1.PodSucceeded, 30), pod("running", "n", corev1.PodRunning, 1),
		pod("old", "n", corev1.PodFailed, 10), pod("older", "n", corev1.PodSucceeded, 5),
	}, 1)
	var names []string
	for _, p := range got {
		names = append(names, p.Name)
	}
	if fmt.Sprint(names) != "[older old]" {
		t.Errorf("to delete: %v", names)
	}
}
