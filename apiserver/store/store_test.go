package store

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/etcd"
)

// The tests bring kinds of their own, so that they don't depend on the table.
var (
	configMaps = &api.Kind{
		Resource: "configmaps", Singular: "configmap", Namespaced: true,
		Versions: []api.Version{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
			New:              func() api.Object { return &corev1.ConfigMap{} },
			NewList:          func() runtime.Object { return &corev1.ConfigMapList{} },
		}},
	}
	nodes = &api.Kind{
		Resource: "nodes", Singular: "node",
		Versions: []api.Version{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Node"),
			New:              func() api.Object { return &corev1.Node{} },
			NewList:          func() runtime.Object { return &corev1.NodeList{} },
		}},
	}
	pods = &api.Kind{
		Resource: "pods", Singular: "pod", Namespaced: true,
		Versions: []api.Version{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"),
			New:              func() api.Object { return &corev1.Pod{} },
			NewList:          func() runtime.Object { return &corev1.PodList{} },
		}},
	}
)

var quiet = slog.New(slog.DiscardHandler)

// patient bounds what should take no time at all.
const patient = 30 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patient)
	t.Cleanup(cancel)
	return ctx
}

func startEtcd(t testing.TB, dir string) *etcd.Member {
	t.Helper()
	m, err := etcd.Start(t.Context(), etcd.Config{DataDir: dir, UnsafeNoFsync: true}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// run starts a store on m, and returns it and what stops it.
func run(t testing.TB, m *etcd.Member, options ...Option) (*Store, func()) {
	t.Helper()
	s := New(m.Client(), "/registry/", []*api.Kind{configMaps, nodes, pods}, quiet, options...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case <-time.After(patient):
		t.Fatal("the store does not become ready")
	}
	return s, stop
}

// startStore is a store on an etcd of its own.
func startStore(t testing.TB) (*Store, *etcd.Member) {
	t.Helper()
	m := startEtcd(t, t.TempDir())
	s, _ := run(t, m, WithRevision(m.Revision()))
	return s, m
}

func configMap(namespace, name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string]string{"value": value},
	}
}

// value is what a version made by configMap holds.
func value(v *Version) string { return v.Object.(*corev1.ConfigMap).Data["value"] }

// put writes a config map whatever was there.
func put(t testing.TB, c *Collection, namespace, name, value string) *Version {
	t.Helper()
	v, err := c.Write(testContext(t), namespace, name, func(*Version) (Write, error) {
		return Write{Object: configMap(namespace, name, value)}, nil
	})
	if err != nil {
		t.Fatalf("write %s/%s: %v", namespace, name, err)
	}
	return v
}

func remove(t testing.TB, c *Collection, namespace, name string) *Version {
	t.Helper()
	v, err := c.Write(testContext(t), namespace, name, func(*Version) (Write, error) { return Write{}, nil })
	if err != nil {
		t.Fatalf("delete %s/%s: %v", namespace, name, err)
	}
	return v
}

// contents is the names and values of a list.
func contents(l *List) []string {
	var out []string
	for _, v := range l.Items {
		out = append(out, fmt.Sprintf("%s/%s=%s", v.Object.GetNamespace(), v.Object.GetName(), value(v)))
	}
	return out
}
