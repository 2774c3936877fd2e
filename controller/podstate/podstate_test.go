package podstate

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestIsAvailable(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, row := range []struct {
		name      string
		ready     corev1.ConditionStatus
		since     int64
		minReady  int32
		available bool
		in        time.Duration
	}{
		{"not ready", corev1.ConditionFalse, 1, 0, false, 0},
		{"ready", corev1.ConditionTrue, 999, 0, true, 0},
		{"ready long enough", corev1.ConditionTrue, 970, 30, true, 0},
		{"not long enough", corev1.ConditionTrue, 980, 30, false, 10 * time.Second},
	} {
		pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: row.ready, LastTransitionTime: metav1.Unix(row.since, 0)},
		}}}
		if available, in := IsAvailable(pod, row.minReady, now); available != row.available || in != row.in {
			t.Errorf("%s: %v in %s", row.name, available, in)
		}
	}
}
