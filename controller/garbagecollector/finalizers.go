package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/loop"
)

// advance takes a deletion in the foreground one step further: its dependents are
// looked at, and when none blocks it any more, it goes.
func (c *Controller) advance(ctx context.Context, v *view) error {
	blocking := v.blocking()
	if len(blocking) == 0 {
		return c.dropFinalizer(ctx, v.identity, metav1.FinalizerDeleteDependents)
	}
	for _, d := range blocking {
		if !d.foreground {
			c.Add(d.uid)
		}
	}
	return nil
}

// orphan lets the dependents go, and then the object.
func (c *Controller) orphan(ctx context.Context, v *view) error {
	errs := loop.Parallel(len(v.dependents), func(i int) error {
		return c.dropOwners(ctx, v.dependents[i].identity, []types.UID{v.uid})
	})
	if len(errs) > 0 {
		return fmt.Errorf("orphan dependents of %s %s/%s: %w", v.resource.Resource, v.namespace, v.name, errors.Join(errs...))
	}
	return c.dropFinalizer(ctx, v.identity, metav1.FinalizerOrphanDependents)
}

// dropOwners removes owner references from an object.
func (c *Controller) dropOwners(ctx context.Context, id identity, owners []types.UID) error {
	var refs []map[string]any
	for _, uid := range owners {
		refs = append(refs, map[string]any{"$patch": "delete", "uid": uid})
	}
	return c.patch(ctx, id, types.StrategicMergePatchType, map[string]any{"uid": id.uid, "ownerReferences": refs})
}

// unblock has an object no longer hold up its owners.
func (c *Controller) unblock(ctx context.Context, id identity, obj *metav1.PartialObjectMetadata) error {
	refs := slices.Clone(obj.OwnerReferences)
	for i := range refs {
		refs[i].BlockOwnerDeletion = new(bool)
	}
	return c.patch(ctx, id, types.MergePatchType, map[string]any{
		"uid": id.uid, "resourceVersion": obj.ResourceVersion, "ownerReferences": refs,
	})
}

// dropFinalizer removes one finalizer from an object.
func (c *Controller) dropFinalizer(ctx context.Context, id identity, finalizer string) error {
	obj, err := c.live(ctx, id)
	if err != nil || obj == nil || !slices.Contains(obj.Finalizers, finalizer) {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(obj.Finalizers), func(f string) bool { return f == finalizer })
	return c.patch(ctx, id, types.MergePatchType, map[string]any{
		"uid": id.uid, "resourceVersion": obj.ResourceVersion, "finalizers": rest,
	})
}

func (c *Controller) patch(ctx context.Context, id identity, kind types.PatchType, metadata map[string]any) error {
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = c.catalog.Objects(id.resource, id.namespace).Patch(ctx, id.name, kind, data, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patch %s %s/%s: %w", id.resource.Resource, id.namespace, id.name, err)
	}
	return nil
}
