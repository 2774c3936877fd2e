package apiserver

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"

	"orrery.example.org/api"
)

// daemonSets is a row for a kind that the table doesn't have, and all there is of it.
var daemonSets = &api.Kind{
	Versions: []api.Version{{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
		New:              func() api.Object { return &appsv1.DaemonSet{} },
		NewList:          func() runtime.Object { return &appsv1.DaemonSetList{} },
	}},
	Resource: "daemonsets", Singular: "daemonset", ShortNames: []string{"ds"}, Namespaced: true,
	Columns: []api.Column{{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: "Ready", Type: "integer", Description: "how many are ready"},
		Cell:                  func(o api.Object) any { return int64(o.(*appsv1.DaemonSet).Status.NumberReady) },
	}},
	Spec:   func(o api.Object) any { return &o.(*appsv1.DaemonSet).Spec },
	Status: func(o api.Object) any { return &o.(*appsv1.DaemonSet).Status },
}

// TestNewKind: a row is all that a kind needs to be found, described, written, applied,
// watched and shown.
func TestNewKind(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.Kinds = append(api.Table[:len(api.Table):len(api.Table)], daemonSets) })
	client := c.tracked("test")
	sets := client.AppsV1().DaemonSets("default")
	ctx := t.Context()

	found, err := client.Discovery().ServerResourcesForGroupVersion("apps/v1")
	if err != nil || !strings.Contains(found.String(), "daemonsets/status") {
		t.Errorf("discovery: %v", err)
	}
	if _, _, doc := c.call(c.http(), "GET", "/openapi/v3/apis/apps/v1", ""); !strings.Contains(doc, "/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}/status") ||
		!strings.Contains(doc, "io.k8s.api.apps.v1.DaemonSetSpec") {
		t.Error("OpenAPI doesn't know it")
	}
	w, err := sets.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	d, err := sets.Apply(ctx, appsapply.DaemonSet("agent", "default").WithSpec(appsapply.DaemonSetSpec().WithMinReadySeconds(3)),
		metav1.ApplyOptions{FieldManager: "alice"})
	if err != nil || d.Generation != 1 {
		t.Fatalf("apply: %v, %+v", err, d)
	}
	wantOwners(t, "applied", d, "alice Apply apps/v1 {f:spec:{f:minReadySeconds:{}}}")
	if e := <-w.ResultChan(); e.Object.(*appsv1.DaemonSet).Name != "agent" {
		t.Errorf("watch: %+v", e)
	}
	d.Status.NumberReady, d.Spec.MinReadySeconds = 2, 9
	if d, err = sets.UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil || d.Status.NumberReady != 2 || d.Spec.MinReadySeconds != 3 {
		t.Errorf("status: %v, %+v", err, d)
	}
	d.Spec.MinReadySeconds = 4
	if d, err = sets.Update(ctx, d, metav1.UpdateOptions{}); err != nil || d.Generation != 2 {
		t.Errorf("update: %v, generation %d", err, d.Generation)
	}
	_, _, table := c.call(c.http(), "GET", "/apis/apps/v1/namespaces/default/daemonsets", "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io")
	if !strings.Contains(table, `"name":"Ready"`) || !strings.Contains(table, `"cells":[2]`) {
		t.Errorf("table: %s", table)
	}
	if _, err := client.CoreV1().Services("default").Create(ctx, service("web", corev1.ServiceTypeClusterIP), metav1.CreateOptions{}); err != nil {
		t.Errorf("the other kinds: %v", err)
	}
}
