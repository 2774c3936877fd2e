package apiserver

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/alloc"
	"orrery.example.org/apiserver/store"
)

// grantService gives a Service its ClusterIPs and node ports.
func (h *handlers) grantService(next, old api.Object, taken alloc.Taken) (alloc.Grant, error) {
	before, _ := old.(*corev1.Service)
	return h.alloc.Assign(next.(*corev1.Service), before, taken)
}

// takenNames are the names that stored Services hold. They are read from etcd's
// present state, so that what is chosen next is free unless somebody takes it just now.
func (h *handlers) takenNames(ctx context.Context) (alloc.Taken, error) {
	services, err := h.core("services").objects.List(ctx, store.ListOptions{})
	if err != nil {
		return nil, err
	}
	taken := alloc.Taken{}
	for _, v := range services.Items {
		for _, name := range alloc.Names(v.Object.(*corev1.Service)) {
			taken[name] = true
		}
	}
	return taken, nil
}
