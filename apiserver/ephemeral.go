package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
)

// ephemeralView shows the whole Pod; writing through it adds ephemeral containers.
func ephemeralView(res *resource) view {
	v := wholeView(res, "ephemeralcontainers")
	v.merge = func(body, old api.Object) api.Object {
		return api.WithEphemeralContainers(body.(*corev1.Pod), old.(*corev1.Pod))
	}
	v.check = func(next, old api.Object) field.ErrorList {
		return api.CheckEphemeralContainers(next.(*corev1.Pod), old.(*corev1.Pod))
	}
	return v
}
