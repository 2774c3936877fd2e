// Package garbagecollector deletes objects whose owners are gone: the ReplicaSets of a
// deleted Deployment, their Pods, the EndpointSlices of a deleted Service.
//
// Upstream counterpart: pkg/controller/garbagecollector.
//
// What flows in: the metadata of every object of every kind. What flows out: deletions,
// and patches of ownerReferences and finalizers.
//
// A deletion has three forms. Background: the object goes at once, its dependents
// after it. Foreground: the object stays, marked with a finalizer, until those of its
// dependents are gone that block it. Orphan: the dependents lose their reference and
// stay. The API server only sets the finalizer; the rest happens here.
//
// The informers' caches may be late, so nothing is deleted before the API server
// itself has said that the owner is not there.
package garbagecollector

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/resources"
)

// Controller is the loop. Its names are UIDs: an object made anew under an old name is
// another object.
type Controller struct {
	*loop.Loop[types.UID]

	catalog *resources.Catalog
	graph   *graph
	events  record.EventRecorder
}

// New makes the loop and says what wakes it.
func New(env loop.Env, catalog *resources.Catalog) *Controller {
	c := &Controller{catalog: catalog, graph: newGraph(catalog), events: env.Recorder("garbage-collector-controller")}
	c.Loop = loop.New("garbagecollector", env, c.sync)
	for _, r := range catalog.All {
		if r.Informer != nil {
			c.Follow(r.Informer, c.handler(r))
		}
	}
	return c
}

func (c *Controller) handler(r *resources.Resource) cache.ResourceEventHandler {
	gone := func(obj any) {
		if tomb, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = tomb.Obj
		}
		if o, ok := obj.(metav1.Object); ok {
			c.look(c.graph.remove(o.GetUID(), true))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { c.look(c.graph.observe(r, obj.(metav1.Object))) },
		UpdateFunc: func(old, cur any) {
			if old.(metav1.Object).GetUID() != cur.(metav1.Object).GetUID() {
				gone(old)
			}
			c.look(c.graph.observe(r, cur.(metav1.Object)))
		},
		DeleteFunc: gone,
	}
}

func (c *Controller) look(uids []types.UID) {
	for _, uid := range uids {
		c.Add(uid)
	}
}

// sync looks at one object.
func (c *Controller) sync(ctx context.Context, uid types.UID) error {
	v := c.graph.view(uid)
	switch {
	case v == nil:
		return nil
	case v.virtual:
		return c.verify(ctx, v)
	case v.orphaning:
		return c.orphan(ctx, v)
	case v.foreground:
		return c.advance(ctx, v)
	case v.deleting || c.graph.settled(v):
		return nil
	default:
		return c.collect(ctx, v)
	}
}

// live reads an object's metadata from the API server; nil if there is none with this UID.
func (c *Controller) live(ctx context.Context, id identity) (*metav1.PartialObjectMetadata, error) {
	obj, err := c.catalog.Objects(id.resource, id.namespace).Get(ctx, id.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && obj.UID != id.uid {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", id.resource.Resource, id.namespace, id.name, err)
	}
	return obj, nil
}

// verify finds out whether an owner exists that no informer has shown.
func (c *Controller) verify(ctx context.Context, v *view) error {
	if !addressable(v.identity) {
		return nil // of a kind unknown here: who can say that it does not exist?
	}
	obj, err := c.live(ctx, v.identity)
	if err != nil || obj != nil {
		return err // it exists; its informer will bring it
	}
	c.look(c.graph.remove(v.uid, false))
	return nil
}

// addressable reports whether there is a path to ask for the object. A cluster-scoped
// object that names an owner in a namespace does not say in which.
func addressable(id identity) bool {
	return id.resource != nil && (id.namespace != "" || !id.resource.Namespaced)
}

// collect deletes an object whose owners are gone.
func (c *Controller) collect(ctx context.Context, v *view) error {
	obj, err := c.live(ctx, v.identity)
	if err != nil || obj == nil || obj.DeletionTimestamp != nil {
		return err
	}
	owners, err := c.classify(ctx, v, obj)
	if err != nil {
		return err
	}
	do := decide(owners, obj.Finalizers, len(v.dependents) > 0)
	if len(do.drop) > 0 {
		return c.dropOwners(ctx, v.identity, do.drop)
	}
	if !do.remove {
		return nil
	}
	if do.policy == metav1.DeletePropagationForeground && slices.ContainsFunc(v.dependents, func(d node) bool { return d.foreground }) {
		// We are about to wait for one that may be waiting for us: a circle of owners.
		if err := c.unblock(ctx, v.identity, obj); err != nil {
			return err
		}
		obj.ResourceVersion = "" // it has just changed
	}
	preconditions := &metav1.Preconditions{UID: &v.uid}
	if obj.ResourceVersion != "" {
		// Should somebody have given it another owner meanwhile, this fails with 409.
		preconditions.ResourceVersion = &obj.ResourceVersion
	}
	err = c.catalog.Objects(v.resource, v.namespace).Delete(ctx, v.name, metav1.DeleteOptions{
		PropagationPolicy: &do.policy, Preconditions: preconditions,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s/%s, whose owners are gone: %w", v.resource.Resource, v.namespace, v.name, err)
	}
	c.Log().Debug("deleted", "resource", v.resource.Resource, "namespace", v.namespace, "name", v.name, "policy", do.policy)
	return nil
}

// classify asks the API server about each owner.
func (c *Controller) classify(ctx context.Context, v *view, obj *metav1.PartialObjectMetadata) (map[types.UID]state, error) {
	states := map[types.UID]state{}
	for _, ref := range ownersOf(obj) {
		id := c.graph.named(&v.node, ref)
		if c.graph.isGone(ref.UID) {
			states[ref.UID] = absent
			continue
		}
		if !addressable(id) {
			states[ref.UID] = solid
			continue
		}
		owner, err := c.live(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case owner == nil:
			states[ref.UID] = absent
			c.warnNamespace(v, obj, ref)
		case owner.DeletionTimestamp != nil && slices.Contains(owner.Finalizers, metav1.FinalizerDeleteDependents):
			states[ref.UID] = waiting
		default:
			states[ref.UID] = solid
		}
	}
	return states, nil
}

// warnNamespace tells of the commonest mistake: the owner exists in another namespace.
func (c *Controller) warnNamespace(v *view, obj *metav1.PartialObjectMetadata, ref metav1.OwnerReference) {
	owner := c.graph.view(ref.UID)
	if owner == nil || owner.virtual || owner.namespace == "" || owner.namespace == v.namespace {
		return
	}
	about := &corev1.ObjectReference{
		APIVersion: v.resource.GroupVersion().String(), Kind: v.resource.Kind,
		Namespace: v.namespace, Name: v.name, UID: v.uid, ResourceVersion: obj.ResourceVersion,
	}
	c.events.Eventf(about, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
		ref.APIVersion, ref.Kind, v.namespace, ref.Name, ref.UID, v.namespace)
}
