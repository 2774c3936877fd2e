package owners

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"orrery.example.org/api"
)

func view(resource string) View {
	k := api.ByResource("", resource)
	return View{Kind: k, Version: k.Storage()}
}

func configMap(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"a": value}}
}

// TestBeforeLoad: what has no owners yet is written without waiting for the schema;
// what has some, and who applies, waits.
func TestBeforeLoad(t *testing.T) {
	tracker, v := New(), view("configmaps")
	early := configMap("1")
	early.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "made up"}}
	if err := tracker.Update(t.Context(), v, &corev1.ConfigMap{}, early, "me"); err != nil || early.ManagedFields != nil {
		t.Errorf("an early write: %v, %v", err, early.ManagedFields)
	}

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	live := configMap("1")
	live.UID = "u"
	live.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "one", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:a":{}}}`), Time: new(metav1.Now()),
	}}
	next := configMap("2")
	if err := tracker.Update(gone, v, live, next, "two"); !errors.Is(err, context.Canceled) {
		t.Errorf("an update of what has owners did not wait: %v", err)
	}
	patch := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "m"}, "data": map[string]any{"a": "3"}}}
	if _, err := tracker.Apply(gone, v, live, patch, "two", false); !errors.Is(err, context.Canceled) {
		t.Errorf("an apply did not wait: %v", err)
	}

	go tracker.Load()
	if err := tracker.Update(t.Context(), v, live, next, "two"); err != nil {
		t.Fatal(err)
	}
	if len(next.ManagedFields) != 1 || next.ManagedFields[0].Manager != "two" {
		t.Errorf("after the update: %v", next.ManagedFields)
	}
	tracker.Load() // again: nothing happens
	if _, err := tracker.Apply(t.Context(), v, live, patch, "three", false); err == nil || !strings.Contains(err.Error(), `conflict with "one": .data.a`) {
		t.Errorf("a conflict: %v", err)
	}
}

func TestName(t *testing.T) {
	for _, test := range []struct{ asked, agent, want string }{
		{"me", "kubectl/v1", "me"},
		{"", "kubectl/v1.37.2 (linux/amd64)", "kubectl"},
		{"", "Mozilla/5.0", "Mozilla"},
		{"", "a\x00b\tc", "abc"},
		{"", "", ""},
		{"", strings.Repeat("ä", 100), strings.Repeat("ä", 64)},
	} {
		if got := Name(test.asked, test.agent); got != test.want {
			t.Errorf("Name(%q, %q) is %q, not %q", test.asked, test.agent, got, test.want)
		}
	}
}

func TestKeepTimes(t *testing.T) {
	entry := func(second int, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: "m", FieldsV1: metav1.NewFieldsV1(fields), Time: new(metav1.Unix(int64(second), 0))}
	}
	for _, test := range []struct {
		name          string
		value, fields string
		wantSecond    int64
	}{
		{"nothing new", "1", "{}", 1},
		{"another value", "2", "{}", 2},
		{"other fields", "1", `{"f:data":{}}`, 2},
	} {
		old, next := configMap("1"), configMap(test.value)
		old.ManagedFields = []metav1.ManagedFieldsEntry{entry(1, "{}")}
		next.ManagedFields = []metav1.ManagedFieldsEntry{entry(2, test.fields)}
		next.Kind = "ConfigMap"
		KeepTimes(next, old)
		if got := next.ManagedFields[0].Time.Unix(); got != test.wantSecond {
			t.Errorf("%s: the time is %d, not %d", test.name, got, test.wantSecond)
		}
	}
}

// Benchmarks of what tracking adds to a write.
func BenchmarkCreatePod(b *testing.B) {
	tracker, v := New(), view("pods")
	tracker.Load()
	for b.Loop() {
		_ = tracker.Update(b.Context(), v, &corev1.Pod{}, pod(), "me")
	}
}

func BenchmarkUpdatePod(b *testing.B) {
	tracker, v := New(), view("pods")
	tracker.Load()
	live := pod()
	_ = tracker.Update(b.Context(), v, &corev1.Pod{}, live, "me")
	live.UID = "u"
	for b.Loop() {
		next := live.DeepCopy()
		next.Labels["b"] = "2"
		_ = tracker.Update(b.Context(), v, live, next, "you")
	}
}

func pod() *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", Labels: map[string]string{"a": "1"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 80}}, Env: []corev1.EnvVar{{Name: "A", Value: "1"}},
		}}},
	}
	api.ByResource("", "pods").SetDefaults(p)
	return p
}
