package apiserver

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

func newFlushRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func TestNegotiate(t *testing.T) {
	const table = ";as=Table;v=v1;g=meta.k8s.io"
	for _, c := range []struct {
		header string
		media  media
		as     string
		fails  bool
	}{
		{"", jsonMedia, "", false},
		{"*/*", jsonMedia, "", false},
		{"text/html, application/yaml", yamlMedia, "", false},
		{"application/json;q=0.5, application/vnd.kubernetes.protobuf", protobufMedia, "", false},
		{"application/json" + table + ", application/json", jsonMedia, "Table", false},
		{"application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json", jsonMedia, "Table", false},
		{"application/json;as=Table;v=v9;g=meta.k8s.io, application/json", jsonMedia, "", false},
		{"application/vnd.kubernetes.protobuf" + table, 0, "", true}, // cells have no protobuf form
		{"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", protobufMedia, "PartialObjectMetadata", false},
		{"application/json;as=Gizmo;v=v1;g=meta.k8s.io", 0, "", true},
		{"text/html", 0, "", true},
		{"application/json;q=0", jsonMedia, "", false}, // not that strict
		{"application/*", jsonMedia, "", false},
		{"application/cbor", cborMedia, "", false},
		{"application/cbor" + table, 0, "", true},
		{"application/yaml;stream=watch, application/json;stream=news, application/vnd.kubernetes.protobuf;stream=watch", protobufMedia, "", false},
		{"application/json;v=v1;g=meta.k8s.io", 0, "", true},
	} {
		r := &http.Request{Header: http.Header{"Accept": {c.header}}}
		got, err := negotiate(r, true)
		if (err != nil) != c.fails || got.media != c.media || got.as.Kind != c.as {
			t.Errorf("%q: %v %v %v", c.header, got.media, got.as, err)
		}
	}
	if _, err := negotiate(&http.Request{Header: http.Header{"Accept": {"application/json" + table}}}, false); err == nil {
		t.Error("a table of what cannot be one")
	}
}

func TestTranslate(t *testing.T) {
	kind := api.ByResource("", "pods")
	m, err := newMatcher(&resource{kind: kind}, "app=web", "")
	if err != nil {
		t.Fatal(err)
	}
	pod := func(app string) *store.Version {
		return &store.Version{Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}, ResourceVersion: "1"}}, Revision: 9}
	}
	in, out := pod("web"), pod("db")
	for _, c := range []struct {
		name  string
		event store.Event
		want  watch.EventType
	}{
		{"created, selected", store.Event{Type: watch.Added, Version: in}, watch.Added},
		{"created, not selected", store.Event{Type: watch.Added, Version: out}, ""},
		{"changed, selected", store.Event{Type: watch.Modified, Version: in, Previous: in}, watch.Modified},
		{"starts to match", store.Event{Type: watch.Modified, Version: in, Previous: out}, watch.Added},
		{"stops matching", store.Event{Type: watch.Modified, Version: out, Previous: in}, watch.Deleted},
		{"changed, not selected", store.Event{Type: watch.Modified, Version: out, Previous: out}, ""},
		{"deleted, selected", store.Event{Type: watch.Deleted, Version: in, Previous: in}, watch.Deleted},
		{"deleted, not selected", store.Event{Type: watch.Deleted, Version: out, Previous: out}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, v := m.translate(c.event)
			if kind != c.want || (v == nil) != (c.want == "") {
				t.Fatalf("%q %v", kind, v)
			}
			if c.name == "stops matching" {
				if v.Object.GetLabels()["app"] != "web" || v.Object.GetResourceVersion() != "9" {
					t.Errorf("the client gets %v", v.Object)
				}
				if in.Object.GetResourceVersion() != "1" {
					t.Error("a shared object was changed")
				}
			}
		})
	}
}

func TestSuccession(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pods, configs, namespaces := api.ByResource("", "pods"), api.ByResource("", "configmaps"), api.ByResource("", "namespaces")
	meta := func(finalizers ...string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "x", UID: "u", ResourceVersion: "5", Generation: 1, Finalizers: finalizers}
	}
	running := func(finalizers ...string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: meta(finalizers...), Spec: corev1.PodSpec{NodeName: "n1", TerminationGracePeriodSeconds: new(int64(30))},
			Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	}
	ending := func(left int64, finalizers ...string) *corev1.Pod {
		p := running(finalizers...)
		until := metav1.NewTime(now.Add(time.Duration(left) * time.Second))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &until, &left
		return p
	}
	grace := func(n int64) metav1.DeleteOptions { return metav1.DeleteOptions{GracePeriodSeconds: &n} }
	policy := func(p metav1.DeletionPropagation) metav1.DeleteOptions {
		return metav1.DeleteOptions{PropagationPolicy: &p}
	}
	type result struct {
		Gone, Same bool
		Until      time.Duration // deletionTimestamp from now
		Grace      int64
		Finalizers []string
		Generation int64
	}
	for _, c := range []struct {
		name string
		kind *api.Kind
		old  api.Object
		o    metav1.DeleteOptions
		want result
	}{
		{"plain", configs, &corev1.ConfigMap{ObjectMeta: meta()}, metav1.DeleteOptions{}, result{Gone: true}},
		{"finalizer", configs, &corev1.ConfigMap{ObjectMeta: meta("a/b")}, metav1.DeleteOptions{}, result{Finalizers: []string{"a/b"}, Generation: 2}},
		{"orphan", configs, &corev1.ConfigMap{ObjectMeta: meta()}, policy(metav1.DeletePropagationOrphan), result{Finalizers: []string{"orphan"}, Generation: 2}},
		{"foreground", configs, &corev1.ConfigMap{ObjectMeta: meta()}, policy(metav1.DeletePropagationForeground), result{Finalizers: []string{"foregroundDeletion"}, Generation: 2}},
		{"foreground, then background", configs, &corev1.ConfigMap{ObjectMeta: meta("foregroundDeletion")}, policy(metav1.DeletePropagationBackground), result{Gone: true}},
		{"foreground stays if nothing is said", configs, &corev1.ConfigMap{ObjectMeta: meta("foregroundDeletion")}, metav1.DeleteOptions{}, result{Finalizers: []string{"foregroundDeletion"}, Generation: 2}},

		{"pod", pods, running(), metav1.DeleteOptions{}, result{Until: 30 * time.Second, Grace: 30, Generation: 2}},
		{"pod, asked for 5", pods, running(), grace(5), result{Until: 5 * time.Second, Grace: 5, Generation: 2}},
		{"pod, at once", pods, running(), grace(0), result{Gone: true}},
		{"pod, no node yet", pods, &corev1.Pod{ObjectMeta: meta()}, metav1.DeleteOptions{}, result{Gone: true}},
		{"pod, asked again", pods, ending(30), metav1.DeleteOptions{}, result{Same: true}},
		{"pod, asked for longer", pods, ending(30), grace(60), result{Same: true}},
		{"pod, asked for shorter", pods, ending(30), grace(10), result{Until: 10 * time.Second, Grace: 10, Generation: 1}},
		{"pod, confirmed", pods, ending(30), grace(0), result{Gone: true}},
		{"pod, confirmed, but held", pods, ending(30, "a/b"), grace(0), result{Finalizers: []string{"a/b"}, Generation: 1}},

		{"namespace", namespaces, &corev1.Namespace{ObjectMeta: meta(), Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}}, metav1.DeleteOptions{}, result{Generation: 2}},
		{"namespace, empty", namespaces, &corev1.Namespace{ObjectMeta: meta()}, metav1.DeleteOptions{}, result{Gone: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.old.DeepCopyObject()
			next, err := succession(c.kind, c.old, &c.o, now)
			if err != nil {
				t.Fatal(err)
			}
			got := result{Gone: next == nil, Same: next == c.old}
			if !got.Gone && !got.Same {
				got.Until, got.Finalizers, got.Generation = next.GetDeletionTimestamp().Sub(now), next.GetFinalizers(), next.GetGeneration()
				if g := next.GetDeletionGracePeriodSeconds(); g != nil {
					got.Grace = *g
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, c.old); diff != "" {
				t.Error("the stored object was changed:", diff)
			}
			if ns, ok := next.(*corev1.Namespace); ok && ns.Status.Phase != corev1.NamespaceTerminating {
				t.Error("phase", ns.Status.Phase)
			}
		})
	}
	for _, p := range []metav1.Preconditions{{UID: new(types.UID("v"))}, {ResourceVersion: new("4")}} {
		if _, err := succession(configs, &corev1.ConfigMap{ObjectMeta: meta()}, &metav1.DeleteOptions{Preconditions: &p}, now); err == nil {
			t.Errorf("precondition %v was ignored", p)
		}
	}
}

func TestContainerOf(t *testing.T) {
	pod := func(names ...string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		for _, n := range names {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n})
		}
		return p
	}
	for _, c := range []struct {
		pod              *corev1.Pod
		asked, want, err string
	}{
		{pod("a"), "", "a", ""},
		{pod("a", "b"), "b", "b", ""},
		{pod("a", "b"), "", "", "a container name must be specified for pod p, choose one of: [a b]"},
		{pod("a"), "c", "", "container c is not valid for pod p"},
		{pod(), "", "", "a container name must be specified for pod p"},
	} {
		got, err := containerOf(c.pod, c.asked)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != c.want || text != c.err {
			t.Errorf("%q: %q %q", c.asked, got, text)
		}
	}
}
