package disruption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ownerOf finds how many Pods like this one are wanted: by the Deployment above its
// ReplicaSet, by the ReplicaSet, or by whatever else controls it and has a scale.
func (c *Controller) ownerOf(ctx context.Context, pod *corev1.Pod) (*owner, error) {
	ref := metav1.GetControllerOf(pod)
	if ref == nil {
		return nil, nil
	}
	if is(ref, "ReplicaSet") {
		if rs, err := c.replicaSets.ReplicaSets(pod.Namespace).Get(ref.Name); err == nil && rs.UID == ref.UID {
			return c.ownerOfReplicaSet(rs), nil
		}
	}
	o, err := c.scaleOf(ctx, ref, pod.Namespace)
	if err == nil && o == nil {
		err = errNoOwner(pod)
	}
	return o, err
}

func (c *Controller) ownerOfReplicaSet(rs *appsv1.ReplicaSet) *owner {
	if ref := metav1.GetControllerOf(rs); ref != nil && is(ref, "Deployment") {
		if d, err := c.deployments.Deployments(rs.Namespace).Get(ref.Name); err == nil && d.UID == ref.UID {
			return &owner{d.UID, *d.Spec.Replicas}
		}
	}
	return &owner{rs.UID, *rs.Spec.Replicas}
}

// is says whether the reference means a kind of the group apps, which was once called
// extensions.
func is(ref *metav1.OwnerReference, kind string) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && ref.Kind == kind && (gv.Group == appsv1.GroupName || gv.Group == "extensions")
}

// scaleOf asks the API server for the /scale of an object of any kind; nil if there is
// no such object.
func (c *Controller) scaleOf(ctx context.Context, ref *metav1.OwnerReference, namespace string) (*owner, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	r := c.catalog.ByKind(ref.APIVersion, ref.Kind)
	if r == nil {
		return nil, &meta.NoKindMatchError{GroupKind: gv.WithKind(ref.Kind).GroupKind(), SearchedVersions: []string{gv.Version}}
	}
	prefix := []string{"apis", r.Group, r.Version}
	if r.Group == "" {
		prefix = []string{"api", r.Version}
	}
	data, err := c.client.Discovery().RESTClient().Get().AbsPath(append(prefix, "namespaces", namespace, r.Resource, ref.Name, "scale")...).
		SetHeader("Accept", "application/json").DoRaw(ctx)
	var status *apierrors.StatusError
	switch {
	case errors.As(err, &status) && apierrors.IsNotFound(err):
		if d := status.ErrStatus.Details; d == nil || d.Name == "" { // it is the path that isn't there
			return nil, fmt.Errorf("%s does not implement the scale subresource", r.GroupResource())
		}
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the scale of %s %s: %w", r.GroupResource(), ref.Name, err)
	}
	var scale autoscalingv1.Scale
	if err := json.Unmarshal(data, &scale); err != nil {
		return nil, fmt.Errorf("read the scale of %s %s: %w", r.GroupResource(), ref.Name, err)
	}
	if scale.UID != ref.UID {
		return nil, nil
	}
	return &owner{scale.UID, scale.Spec.Replicas}, nil
}
