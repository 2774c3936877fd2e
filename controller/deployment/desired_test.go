package deployment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

func deploymentOf(replicas int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "d", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: template("new"),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
			},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 1},
	}
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

// sized is a ReplicaSet of that many Pods, so many of them available.
func sized(name string, replicas, available int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", CreationTimestamp: metav1.Unix(int64(len(name)), 0)},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &replicas, Template: template(name)},
		Status:     appsv1.ReplicaSetStatus{Replicas: replicas, ReadyReplicas: available, AvailableReplicas: available},
	}
}

func steps(all []scaling) string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%s %d→%d", s.rs.Name, *s.rs.Spec.Replicas, s.to))
	}
	return strings.Join(out, ", ")
}

func TestRollingUpdate(t *testing.T) {
	for _, row := range []struct {
		name               string
		replicas           int32
		surge, unavailable string
		now                *appsv1.ReplicaSet
		old                []*appsv1.ReplicaSet
		want               string
	}{
		{"the new one grows by maxSurge", 10, "3", "0", sized("new", 0, 0), []*appsv1.ReplicaSet{sized("old", 10, 10)}, "new 0→3"},
		{"nothing may move before the new ones are available", 10, "3", "0", sized("new", 3, 0), []*appsv1.ReplicaSet{sized("old", 10, 10)}, ""},
		{"old ones go as new ones become available", 10, "3", "0", sized("new", 3, 2), []*appsv1.ReplicaSet{sized("old", 10, 10)}, "old 10→8"},
		{"no surge: the old ones go first", 10, "0", "2", sized("new", 0, 0), []*appsv1.ReplicaSet{sized("old", 10, 10)}, "old 10→8"},
		{"25% of 10 is 3 up and 2 down", 10, "25%", "25%", sized("new", 3, 0), []*appsv1.ReplicaSet{sized("old", 10, 10)}, "old 10→8"},
		{"neither surge nor unavailable: one may be missing", 3, "0", "0", sized("new", 0, 0), []*appsv1.ReplicaSet{sized("old", 3, 3)}, "old 3→2"},
		{"unhealthy old ones cost nothing", 10, "2", "0", sized("new", 2, 0), []*appsv1.ReplicaSet{sized("old", 10, 6)}, ""},
		{"unhealthy old ones go first, the oldest set before others", 10, "5", "5", sized("new", 5, 0), []*appsv1.ReplicaSet{sized("a", 5, 2), sized("bb", 5, 5)}, "a 5→0"},
		{"too large a new one shrinks", 3, "1", "0", sized("new", 5, 5), nil, "new 5→3"},
		{"scaled to zero", 0, "1", "0", sized("new", 3, 3), nil, "new 3→0"},
		{"done", 3, "1", "0", sized("new", 3, 3), []*appsv1.ReplicaSet{sized("old", 0, 0)}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := deploymentOf(row.replicas, row.surge, row.unavailable)
			if got := steps(rollingUpdate(d, revisions{now: row.now, old: row.old})); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestRolloutInvariant rolls out against Pods that become available one at a time, and
// checks after every step that there are never too many nor too few.
func TestRolloutInvariant(t *testing.T) {
	for _, limits := range [][2]string{{"25%", "25%"}, {"1", "0"}, {"0", "1"}, {"100%", "0"}, {"0", "100%"}, {"0", "0"}} {
		d := deploymentOf(7, limits[0], limits[1])
		r := revisions{now: sized("new", 0, 0), old: []*appsv1.ReplicaSet{sized("old", 7, 7)}}
		for i := 0; *r.now.Spec.Replicas != 7 || *r.old[0].Spec.Replicas != 0 || r.now.Status.AvailableReplicas != 7; i++ {
			if i > 100 {
				t.Fatalf("limits %v: stuck at new %d, old %d", limits, *r.now.Spec.Replicas, *r.old[0].Spec.Replicas)
			}
			for _, s := range rollingUpdate(d, r) {
				*s.rs.Spec.Replicas = s.to
				s.rs.Status.AvailableReplicas = min(s.rs.Status.AvailableReplicas, s.to)
			}
			if total := sizes(r.all()); total > 7+maxSurge(d) {
				t.Fatalf("limits %v: %d pods", limits, total)
			}
			if available := r.now.Status.AvailableReplicas + r.old[0].Status.AvailableReplicas; available < 7-maxUnavailable(d) {
				t.Fatalf("limits %v: %d available", limits, available)
			}
			if r.now.Status.AvailableReplicas < *r.now.Spec.Replicas {
				r.now.Status.AvailableReplicas++
			}
		}
	}
}

func TestResize(t *testing.T) {
	asOf := func(rs *appsv1.ReplicaSet, desired, highest int) *appsv1.ReplicaSet {
		rs.Annotations = map[string]string{desiredAnnotation: strconv.Itoa(desired), maxAnnotation: strconv.Itoa(highest)}
		return rs
	}
	for _, row := range []struct {
		name     string
		replicas int32
		surge    string
		now      *appsv1.ReplicaSet
		old      []*appsv1.ReplicaSet
		want     string
	}{
		{"the only one follows", 5, "1", sized("new", 3, 3), []*appsv1.ReplicaSet{sized("old", 0, 0)}, "new 3→5"},
		{"none has pods: the current one", 5, "1", sized("new", 0, 0), []*appsv1.ReplicaSet{sized("old", 0, 0)}, "new 0→5"},
		{"no current one: the newest", 5, "1", nil, []*appsv1.ReplicaSet{sized("a", 0, 0), sized("bb", 0, 0)}, "bb 0→5"},
		{"saturated: the others go", 5, "1", asOf(sized("new", 5, 5), 5, 6), []*appsv1.ReplicaSet{sized("old", 2, 2)}, "old 2→0"},
		{"half way up: in proportion", 20, "0", asOf(sized("new", 5, 5), 10, 10), []*appsv1.ReplicaSet{asOf(sized("oldest", 5, 5), 10, 10)}, "oldest 5→10, new 5→10"},
		{"half way down: in proportion", 5, "0", asOf(sized("new", 4, 4), 10, 10), []*appsv1.ReplicaSet{asOf(sized("older", 6, 6), 10, 10)}, "older 6→3, new 4→2"},
		{"what rounding leaves goes to the largest", 12, "0", asOf(sized("new", 3, 3), 10, 10), []*appsv1.ReplicaSet{asOf(sized("older", 7, 7), 10, 10)}, "older 7→8, new 3→4"},
		{"down to nothing", 0, "1", asOf(sized("new", 4, 4), 10, 11), []*appsv1.ReplicaSet{asOf(sized("older", 6, 6), 10, 11)}, "older 6→0, new 4→0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := deploymentOf(row.replicas, row.surge, "0")
			if row.surge == "0" {
				u := intstr.FromInt32(1)
				d.Spec.Strategy.RollingUpdate.MaxUnavailable = &u
			}
			if got := steps(resize(d, revisions{now: row.now, old: row.old})); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	limit := int32(2)
	d := deploymentOf(1, "1", "0")
	d.Spec.RevisionHistoryLimit = &limit
	var old []*appsv1.ReplicaSet
	for i, revision := range []int{4, 1, 3, 2, 5} {
		rs := sized(fmt.Sprint("rs", i), 0, 0)
		annotate(d, rs, int64(revision))
		old = append(old, rs)
	}
	*old[3].Spec.Replicas = 1 // revision 2 still has a Pod
	var names []string
	for _, rs := range history(d, old) {
		names = append(names, rs.Annotations[revisionAnnotation])
	}
	if !slices.Equal(names, []string{"1", "3"}) {
		t.Errorf("to delete: revisions %q", names)
	}
	d.Spec.RevisionHistoryLimit = nil
	if len(history(d, old)) > 0 {
		t.Error("no limit, and yet some are to go")
	}
}

func TestRevisions(t *testing.T) {
	d := deploymentOf(3, "1", "0")
	d.Annotations = map[string]string{"kubernetes.io/change-cause": "new image", revisionAnnotation: "9", corev1.LastAppliedConfigAnnotation: "{}"}
	older, twin := sized("old", 0, 0), sized("twin-of-new", 0, 0)
	twin.Spec.Template = template("new")
	twin.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "abc"
	annotate(d, older, 1)
	annotate(d, twin, 2)
	newer := sized("newer-than-both", 0, 0)
	annotate(d, newer, 3)

	r := sortRevisions(d, []*appsv1.ReplicaSet{newer, twin, older})
	if r.now != twin || len(r.old) != 2 || r.old[0] != older {
		t.Fatalf("now %v, old %v", r.now, r.old)
	}
	// Rolling back makes the twin the newest revision and keeps its history.
	if !annotate(d, twin, r.next()) || twin.Annotations[revisionAnnotation] != "4" || twin.Annotations[revisionHistoryAnnotation] != "2" {
		t.Errorf("annotations %v", twin.Annotations)
	}
	if annotate(d, twin, r.next()) {
		t.Error("annotated twice")
	}
	if twin.Annotations["kubernetes.io/change-cause"] != "new image" || twin.Annotations[corev1.LastAppliedConfigAnnotation] != "" {
		t.Errorf("annotations %v", twin.Annotations)
	}
}

func TestNewReplicaSet(t *testing.T) {
	d := deploymentOf(3, "1", "0")
	rs := newReplicaSet(d, revisions{})
	hash := Hash(&d.Spec.Template, nil)
	if rs.Name != "web-"+hash || rs.Labels["pod-template-hash"] != hash || rs.Spec.Selector.MatchLabels["pod-template-hash"] != hash ||
		rs.Spec.Template.Labels["pod-template-hash"] != hash || rs.Labels["app"] != "web" || *rs.Spec.Replicas != 3 || !metav1.IsControlledBy(rs, d) {
		t.Errorf("%+v", rs)
	}
	if d.Spec.Template.Labels["pod-template-hash"] != "" || d.Spec.Selector.MatchLabels["pod-template-hash"] != "" {
		t.Error("the Deployment itself was labelled")
	}
	if problems := validation.IsDNS1123Label(hash); len(problems) > 0 || strings.ContainsAny(hash, "aeiou013") {
		t.Errorf("hash %q: %v", hash, problems)
	}
	collision := int32(1)
	other := template("another")
	if Hash(&d.Spec.Template, &collision) == hash || Hash(&other, nil) == hash {
		t.Error("different input, same hash")
	}
	if !sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
		t.Error("the hash label makes a difference")
	}
}

func TestRolloutStatus(t *testing.T) {
	limit := int32(600)
	start := time.Unix(10000, 0)
	d := deploymentOf(3, "1", "0")
	d.Spec.ProgressDeadlineSeconds = &limit
	progress := func() string {
		c := find(&d.Status, appsv1.DeploymentProgressing)
		return fmt.Sprintf("%s %s", c.Status, c.Reason)
	}
	check := func(what, wantProgress, wantAvailable string) {
		t.Helper()
		available := find(&d.Status, appsv1.DeploymentAvailable)
		if got := progress(); got != wantProgress || string(available.Status) != wantAvailable {
			t.Errorf("%s: progressing %s, available %s; want %s, %s", what, got, available.Status, wantProgress, wantAvailable)
		}
	}
	r := revisions{now: sized("new", 3, 0)}
	r.now.Status = appsv1.ReplicaSetStatus{}
	setCreated := condition{appsv1.DeploymentProgressing, corev1.ConditionTrue, createdReason, ""}
	refresh(&d.Status, setCreated, start)

	d.Status = rolloutStatus(d, r, start)
	check("created", "True NewReplicaSetCreated", "False")
	r.now.Status.Replicas = 3
	d.Status = rolloutStatus(d, r, start.Add(time.Second))
	check("pods exist", "True ReplicaSetUpdated", "False")
	if again := nextCheck(d, &d.Status, start.Add(time.Second)); again != 601*time.Second {
		t.Errorf("looks again after %s", again)
	}
	d.Status = rolloutStatus(d, r, start.Add(500*time.Second))
	check("nothing happens", "True ReplicaSetUpdated", "False")
	d.Status = rolloutStatus(d, r, start.Add(602*time.Second))
	check("for too long", "False ProgressDeadlineExceeded", "False")
	if again := nextCheck(d, &d.Status, start.Add(602*time.Second)); again != 0 {
		t.Errorf("timed out, and looks again after %s", again)
	}
	r.now.Status.ReadyReplicas, r.now.Status.AvailableReplicas = 3, 3
	d.Status = rolloutStatus(d, r, start.Add(700*time.Second))
	check("done after all", "True NewReplicaSetAvailable", "True")
	r.now.Status.AvailableReplicas = 1
	d.Status = rolloutStatus(d, r, start.Add(9000*time.Second))
	check("pods fail after the rollout: no deadline runs", "True NewReplicaSetAvailable", "False")

	d.Spec.Paused = true
	setPaused(d, start)
	if got := progress(); got != "Unknown DeploymentPaused" {
		t.Errorf("paused: %s", got)
	}
	d.Spec.Paused = false
	setPaused(d, start)
	if got := progress(); got != "Unknown DeploymentResumed" {
		t.Errorf("resumed: %s", got)
	}
	d.Spec.ProgressDeadlineSeconds = nil
	if s := rolloutStatus(d, r, start); find(&s, appsv1.DeploymentProgressing) != nil {
		t.Error("no deadline, and yet a Progressing condition")
	}
}

func TestReplicaFailure(t *testing.T) {
	d := deploymentOf(1, "1", "0")
	r := revisions{now: sized("new", 1, 0)}
	r.now.Status.Conditions = []appsv1.ReplicaSetCondition{{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "quota",
	}}
	d.Status = rolloutStatus(d, r, time.Now())
	if c := find(&d.Status, appsv1.DeploymentReplicaFailure); c == nil || c.Reason != "FailedCreate" || c.Message != "quota" {
		t.Errorf("condition %+v", c)
	}
	r.now.Status.Conditions = nil
	if s := rolloutStatus(d, r, time.Now()); find(&s, appsv1.DeploymentReplicaFailure) != nil {
		t.Error("the failure stayed")
	}
}
