package apiserver

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

// The server itself looks objects up, too: admission and authorization depend on what
// is stored. Both see it through these two.

// Get finds an object in the storage version. The cache knows nearly always; only who
// finds nothing there asks etcd.
func (h *handlers) Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (api.Object, error) {
	objects, err := h.collection(gr)
	if err != nil {
		return nil, err
	}
	v, err := objects.Get(ctx, namespace, name, true)
	if apierrors.IsNotFound(err) {
		v, err = objects.Get(ctx, namespace, name, false)
	}
	if err != nil {
		return nil, err
	}
	return v.Object, nil
}

// List finds what the cache has.
func (h *handlers) List(ctx context.Context, gr schema.GroupResource, namespace string) ([]api.Object, error) {
	objects, err := h.collection(gr)
	if err != nil {
		return nil, err
	}
	found, err := objects.List(ctx, store.ListOptions{Namespace: namespace, AnyRevision: true})
	if err != nil {
		return nil, err
	}
	all := make([]api.Object, len(found.Items))
	for i, v := range found.Items {
		all[i] = v.Object
	}
	return all, nil
}

// collection is where the kind's objects are stored.
func (h *handlers) collection(gr schema.GroupResource) (*store.Collection, error) {
	for _, k := range h.kinds {
		if k.GroupResource() == gr && k.Stored() {
			return h.resources[k.Storage().GroupVersion().WithResource(k.Resource)].objects, nil
		}
	}
	return nil, apierrors.NewNotFound(gr, "")
}
