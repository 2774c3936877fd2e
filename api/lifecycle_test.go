package api

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var moment = metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))

func TestCreateResetsWhatTheServerOwns(t *testing.T) {
	d := aDeployment()
	d.Generation, d.SelfLink = 7, "x"
	d.DeletionTimestamp, d.DeletionGracePeriodSeconds = &moment, ptr[int64](5)
	d.Status.Replicas = 9
	wantErrors(t, deployments.BeforeCreate(d))
	if d.Generation != 1 || d.SelfLink != "" || d.DeletionTimestamp != nil || d.DeletionGracePeriodSeconds != nil || d.Status.Replicas != 0 {
		t.Errorf("%+v", d)
	}
}

func TestNodesRegisterWithTheirStatus(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.30.0.11"}}
	if wantErrors(t, nodes.BeforeCreate(n)); len(n.Status.Addresses) != 1 {
		t.Error("the status is gone")
	}
}

func TestUpdateCountsGenerations(t *testing.T) {
	for _, c := range []struct {
		name  string
		tweak func(*appsv1.Deployment)
		want  int64
	}{
		{"nothing", func(*appsv1.Deployment) {}, 1},
		{"status", func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, 1},
		{"labels", func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }, 1},
		{"a generation of one's own", func(d *appsv1.Deployment) { d.Generation = 9 }, 1},
		{"a default left out", func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = nil }, 1},
		{"spec", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr[int32](3) }, 2},
		{"annotations", func(d *appsv1.Deployment) { d.Annotations = map[string]string{"a": "b"} }, 2},
		{"both", func(d *appsv1.Deployment) {
			d.Spec.Replicas, d.Annotations = ptr[int32](3), map[string]string{"a": "b"}
		}, 2},
	} {
		old := aDeployment()
		deployments.BeforeCreate(old)
		d := old.DeepCopy()
		c.tweak(d)
		wantErrors(t, deployments.BeforeUpdate(d, old))
		if d.Generation != c.want {
			t.Errorf("%s: generation %d, want %d", c.name, d.Generation, c.want)
		}
	}
}

func TestSliceGenerations(t *testing.T) {
	old := aSlice()
	endpointSlices.BeforeCreate(old)
	s := old.DeepCopy()
	s.Annotations = map[string]string{"a": "b"}
	if endpointSlices.BeforeUpdate(s, old); s.Generation != 1 {
		t.Errorf("annotations: generation %d", s.Generation)
	}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	if endpointSlices.BeforeUpdate(s, old); s.Generation != 2 {
		t.Errorf("labels: generation %d", s.Generation)
	}
	s = old.DeepCopy()
	s.Endpoints[0].Addresses[0] = "10.244.1.9"
	if endpointSlices.BeforeUpdate(s, old); s.Generation != 2 {
		t.Errorf("addresses: generation %d", s.Generation)
	}
}

func TestUpdateCarriesMetadataOver(t *testing.T) {
	old := aPod()
	pods.BeforeCreate(old)
	old.CreationTimestamp, old.DeletionTimestamp, old.DeletionGracePeriodSeconds = moment, &moment, ptr[int64](30)
	p := aPod()
	p.ObjectMeta = metav1.ObjectMeta{Name: "client", Namespace: "default"}
	p.Spec = *old.Spec.DeepCopy()
	wantErrors(t, pods.BeforeUpdate(p, old))
	if p.UID != "1" || p.ResourceVersion != "1" || !p.CreationTimestamp.Equal(&moment) || !p.DeletionTimestamp.Equal(&moment) || *p.DeletionGracePeriodSeconds != 30 {
		t.Errorf("%+v", p.ObjectMeta)
	}
}

func TestConditionalUpdates(t *testing.T) {
	old := &coordinationv1.Lease{ObjectMeta: metaOf("lock")}
	leases.BeforeCreate(old)
	l := old.DeepCopy()
	l.ResourceVersion = ""
	wantErrors(t, leases.BeforeUpdate(l, old), `metadata.resourceVersion: Invalid value: "": must be specified for an update`)
}

func TestNamespaceLife(t *testing.T) {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", ResourceVersion: "1"}}
	wantErrors(t, namespaces.BeforeCreate(n))
	if n.Labels["kubernetes.io/metadata.name"] != "shop" || n.Status.Phase != corev1.NamespaceActive || n.Spec.Finalizers[0] != corev1.FinalizerKubernetes {
		t.Fatalf("new: %+v", n)
	}
	update := n.DeepCopy()
	update.Spec.Finalizers, update.Labels = nil, nil
	wantErrors(t, namespaces.BeforeUpdate(update, n))
	if len(update.Spec.Finalizers) != 1 || update.Labels["kubernetes.io/metadata.name"] != "shop" {
		t.Errorf("an update took the finalizer or the label away: %+v", update)
	}
	ended := n.DeepCopy()
	ended.Status.Phase = corev1.NamespaceTerminating
	wantErrors(t, namespaces.BeforeStatusUpdate(ended, n),
		"status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty")
	n.DeletionTimestamp = &moment
	status := n.DeepCopy()
	wantErrors(t, namespaces.BeforeStatusUpdate(status, n),
		"status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty")
	wrong := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"a b"}}}
	if errs := namespaces.BeforeCreate(wrong); len(errs) == 0 {
		t.Error("a finalizer may have any name")
	}
}

// TestUpdateSharesNothing: what the update took over may be changed without changing
// the stored object, which others are reading.
func TestUpdateSharesNothing(t *testing.T) {
	old := anAllocated()
	old.Status.Conditions = []metav1.Condition{{Type: "Ready"}}
	s := aService()
	s.Spec.Type = corev1.ServiceTypeNodePort
	services.PrepareForUpdate(s, old)
	s.Spec.ClusterIPs[0], s.Status.Conditions[0].Type = "changed", "changed"
	if old.Spec.ClusterIPs[0] == "changed" || old.Status.Conditions[0].Type == "changed" {
		t.Error("the stored object changed too")
	}
}
