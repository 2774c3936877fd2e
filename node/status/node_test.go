package status

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMergeNode(t *testing.T) {
	early, late := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	old := corev1.NodeStatus{Conditions: NodeConditions(false, early)}
	old.Conditions = append(old.Conditions, corev1.NodeCondition{Type: "example.org/Mine", Status: corev1.ConditionTrue})
	merged := MergeNode(old, corev1.NodeStatus{Conditions: NodeConditions(true, late)})
	for _, condition := range merged.Conditions {
		want := early
		if condition.Type == corev1.NodeReady {
			want = late
		}
		if condition.Type != "example.org/Mine" && condition.LastTransitionTime != want {
			t.Errorf("%s since %s, want %s", condition.Type, condition.LastTransitionTime, want)
		}
	}
	if len(merged.Conditions) != len(old.Conditions) {
		t.Errorf("%d conditions, want %d", len(merged.Conditions), len(old.Conditions))
	}
}
