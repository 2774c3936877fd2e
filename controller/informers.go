package controller

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata/metadatainformer"

	"orrery.example.org/controller/resources"
)

// whole are the resources that some loop reads more of than the metadata. The garbage
// collector and the namespace loop use the same informers; on all other resources they
// get informers that hold metadata only.
var whole = map[schema.GroupVersionResource]bool{
	corev1.SchemeGroupVersion.WithResource("pods"):                true,
	corev1.SchemeGroupVersion.WithResource("services"):            true,
	corev1.SchemeGroupVersion.WithResource("endpoints"):           true,
	corev1.SchemeGroupVersion.WithResource("nodes"):               true,
	corev1.SchemeGroupVersion.WithResource("namespaces"):          true,
	discoveryv1.SchemeGroupVersion.WithResource("endpointslices"): true,
	appsv1.SchemeGroupVersion.WithResource("deployments"):         true,
	appsv1.SchemeGroupVersion.WithResource("replicasets"):         true,
	coordinationv1.SchemeGroupVersion.WithResource("leases"):      true,

	certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"): true,
	networkingv1.SchemeGroupVersion.WithResource("ipaddresses"):                  true,
	networkingv1.SchemeGroupVersion.WithResource("servicecidrs"):                 true,
	policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"):             true,
	rbacv1.SchemeGroupVersion.WithResource("clusterroles"):                       true,
}

// unwatched are the resources whose objects are many, short-lived and nobody's owner.
var unwatched = map[schema.GroupResource]bool{
	{Group: "", Resource: "events"}:              true,
	{Group: "events.k8s.io", Resource: "events"}: true,
}

// watch gives every row of the catalog its informer and returns the factory of those
// that hold metadata only.
func (m *Manager) watch(factory informers.SharedInformerFactory, catalog *resources.Catalog) (metadatainformer.SharedInformerFactory, error) {
	slimmed := metadatainformer.NewSharedInformerFactoryWithOptions(m.metadata, 0, metadatainformer.WithTransform(slim))
	for _, r := range catalog.All {
		switch {
		case unwatched[r.GroupResource()]:
		case whole[r.GroupVersionResource]:
			informer, err := factory.ForResource(r.GroupVersionResource)
			if err != nil {
				return nil, err
			}
			r.Informer = informer.Informer()
		default:
			r.Informer = slimmed.ForResource(r.GroupVersionResource).Informer()
		}
	}
	return slimmed, nil
}

// slim drops from cached objects what no loop reads. Written back without them,
// objects keep their managed fields: the API server takes an absent list for the old one.
func slim(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return obj, nil
}

// Tries to reach the API server start this far apart and grow to the maximum.
const (
	firstDial = 10 * time.Millisecond
	lastDial  = time.Second
)

// discover waits for the API server and reads what it serves; nil if ctx ends first.
func (m *Manager) discover(ctx context.Context) *resources.Catalog {
	for wait := firstDial; ; wait = min(2*wait, lastDial) {
		catalog, err := resources.Discover(ctx, m.discovery, m.metadata)
		if err == nil {
			return catalog
		}
		if wait > 100*time.Millisecond {
			m.log.Info("waiting for the API server", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
