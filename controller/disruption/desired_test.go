package disruption

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Unix(1e9, 0)

// pod is one whose condition Ready is true, if not "unready" or "leaving".
func pod(name, state string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}}}
	switch state {
	case "leaving":
		p.DeletionTimestamp = new(metav1.NewTime(now))
		fallthrough
	case "ready":
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func budget(least, most string) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default", Generation: 3}}
	if least != "" {
		b.Spec.MinAvailable = new(intstr.Parse(least))
	}
	if most != "" {
		b.Spec.MaxUnavailable = new(intstr.Parse(most))
	}
	return b
}

func TestExpected(t *testing.T) {
	three := []*corev1.Pod{pod("a", "ready"), pod("b", "ready"), pod("c", "ready")}
	owned := func(uid types.UID, replicas int32) scaler {
		return func(*corev1.Pod) (*owner, error) { return &owner{uid, replicas}, nil }
	}
	mixed := func(p *corev1.Pod) (*owner, error) {
		switch p.Name {
		case "a":
			return &owner{"x", 10}, nil
		case "b":
			return &owner{"y", 5}, nil
		}
		return nil, nil
	}
	nobodys := func(*corev1.Pod) (*owner, error) { return nil, errors.New("asked for the owner") }
	for _, c := range []struct {
		name        string
		least, most string
		scale       scaler
		want        expectation
	}{
		{"no bounds", "", "", nobodys, expectation{}},
		{"a number", "2", "", nobodys, expectation{pods: 3, healthy: 2}},
		{"a percentage, of what is wanted", "50%", "", owned("x", 5), expectation{pods: 5, healthy: 3}},
		{"at most one away", "", "1", owned("x", 5), expectation{pods: 5, healthy: 4}},
		{"at most a part away, rounded up", "", "30%", owned("x", 5), expectation{pods: 5, healthy: 3}},
		{"more away than there are", "", "9", owned("x", 5), expectation{pods: 5}},
		{"two owners and nobody", "", "1", mixed, expectation{pods: 15, healthy: 14, unmanaged: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := expected(budget(c.least, c.most), three, c.scale)
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
	if _, err := expected(budget("", "1"), three, nobodys); err == nil {
		t.Error("an owner that could not be found is forgotten")
	}
}

func TestCounted(t *testing.T) {
	for _, c := range []struct {
		name    string
		pods    []*corev1.Pod
		e       expectation
		evicted map[string]time.Duration // Pod -> how long ago
		allowed int32
		healthy int32
		noted   []string // still
		stayed  int
		again   time.Duration
	}{
		{"one to spare", []*corev1.Pod{pod("a", "ready"), pod("b", "ready")}, expectation{pods: 2, healthy: 1}, nil, 1, 2, nil, 0, 0},
		{"one is not ready", []*corev1.Pod{pod("a", "ready"), pod("b", "unready")}, expectation{pods: 2, healthy: 1}, nil, 0, 1, nil, 0, 0},
		{"one is leaving", []*corev1.Pod{pod("a", "ready"), pod("b", "leaving")}, expectation{pods: 2, healthy: 1}, nil, 0, 1, nil, 0, 0},
		{"none are expected yet", []*corev1.Pod{pod("a", "ready")}, expectation{}, nil, 0, 1, nil, 0, 0},
		{"too few", []*corev1.Pod{pod("a", "ready")}, expectation{pods: 3, healthy: 3}, nil, 0, 1, nil, 0, 0},
		{"one was evicted just now", []*corev1.Pod{pod("a", "ready"), pod("b", "ready")}, expectation{pods: 2, healthy: 1},
			map[string]time.Duration{"a": 10 * time.Second, "b": 30 * time.Second}, 0, 0, []string{"a", "b"}, 0, 90 * time.Second},
		{"evicted, seen and gone", []*corev1.Pod{pod("a", "leaving"), pod("c", "ready")}, expectation{pods: 2, healthy: 1},
			map[string]time.Duration{"a": time.Second, "b": time.Second}, 0, 1, nil, 0, 0},
		{"evicted and never gone", []*corev1.Pod{pod("a", "ready"), pod("b", "ready")}, expectation{pods: 2, healthy: 1},
			map[string]time.Duration{"a": 3 * time.Minute}, 1, 2, nil, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := budget("1", "")
			for name, ago := range c.evicted {
				if b.Status.DisruptedPods == nil {
					b.Status.DisruptedPods = map[string]metav1.Time{}
				}
				b.Status.DisruptedPods[name] = metav1.NewTime(now.Add(-ago))
			}
			s := counted(b, c.pods, c.e, now).Status
			if s.DisruptionsAllowed != c.allowed || s.CurrentHealthy != c.healthy || s.DesiredHealthy != c.e.healthy ||
				s.ExpectedPods != c.e.pods || s.ObservedGeneration != 3 {
				t.Errorf("status %+v", s)
			}
			if want := c.allowed > 0; meta.IsStatusConditionTrue(s.Conditions, policyv1.DisruptionAllowedCondition) != want {
				t.Errorf("conditions %+v", s.Conditions)
			}
			leaving, stayed, again := pending(b, c.pods, now)
			var noted []string
			for name := range leaving {
				noted = append(noted, name)
			}
			slices.Sort(noted)
			if !slices.Equal(noted, c.noted) || len(stayed) != c.stayed || again != c.again {
				t.Errorf("noted %v, %d stayed, again in %v", noted, len(stayed), again)
			}
		})
	}
}

func TestFailed(t *testing.T) {
	b := budget("", "1")
	b.Status.DisruptionsAllowed = 4
	c := meta.FindStatusCondition(failed(b, errors.New("no scale")).Status.Conditions, policyv1.DisruptionAllowedCondition)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "SyncFailed" || c.Message != "no scale" || b.Status.DisruptionsAllowed != 4 {
		t.Errorf("condition %+v", c)
	}
	if failed(b, errors.New("no scale")).Status.DisruptionsAllowed != 0 {
		t.Error("it still grants evictions")
	}
}

func TestStale(t *testing.T) {
	told := func(ago time.Duration, status corev1.ConditionStatus, reason string) *corev1.Pod {
		p := pod("p", "unready")
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(now.Add(-ago))}}
		return p
	}
	finished := told(time.Hour, corev1.ConditionTrue, "x")
	finished.Status.Phase = corev1.PodFailed
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		is   bool
		in   time.Duration
	}{
		{"none", pod("p", "ready"), false, 0},
		{"a while ago", told(3*time.Minute, corev1.ConditionTrue, "EvictionByEvictionAPI"), true, 0},
		{"just now", told(30*time.Second, corev1.ConditionTrue, "EvictionByEvictionAPI"), false, 90 * time.Second},
		{"taken back", told(time.Hour, corev1.ConditionFalse, ""), false, 0},
		{"by its node", told(time.Hour, corev1.ConditionTrue, corev1.PodReasonTerminationByKubelet), false, 0},
		{"finished", finished, false, 0},
		{"leaving", pod("p", "leaving"), false, 0},
	} {
		if is, in := stale(c.pod, now); is != c.is || in != c.in {
			t.Errorf("%s: %v, %v", c.name, is, in)
		}
	}
}
