package proxy

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// How long a change takes to reach the kernel is counted from when it happened, if that
// was in this proxy's time (P52).
func TestP52TriggerTime(t *testing.T) {
	started := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		text    string
		deleted bool
		want    time.Time
	}{
		{"2026-05-01T12:00:01.5Z", false, started.Add(1500 * time.Millisecond)},
		{"2026-05-01T11:59:59Z", false, time.Time{}},
		{"2026-05-01T12:00:01Z", true, time.Time{}},
		{"yesterday", false, time.Time{}},
		{"", false, time.Time{}},
	} {
		slice := &discoveryv1.EndpointSlice{}
		slice.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: row.text}
		if got := triggerTime(slice, row.deleted, started); !got.Equal(row.want) {
			t.Errorf("%q, deleted %v: %v, want %v", row.text, row.deleted, got, row.want)
		}
	}
}
