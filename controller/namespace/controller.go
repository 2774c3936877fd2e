// Package namespace empties each namespace that is being deleted, and then lets it go.
//
// Upstream counterpart: pkg/controller/namespace.
//
// What flows in: Namespaces, and the end of every object in one that is being deleted.
// What flows out: deletions of everything in it; last, the namespace without its
// `kubernetes` finalizer, upon which the API server removes it.
//
// Kubernetes: upstream comes back after an estimate of how long the Pods will take.
// Here the last object's deletion is what brings us back.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/resources"
)

// recheck is how soon a namespace that is not empty is looked at again although no
// event asked for it: kinds that nobody watches leave no event.
const recheck = 5 * time.Second

// Controller is the loop. Its names are those of namespaces.
type Controller struct {
	*loop.Loop[loop.Name]

	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	catalog    *resources.Catalog
}

// New makes the loop and says what wakes it.
func New(env loop.Env, catalog *resources.Catalog) *Controller {
	namespaces := env.Informers.Core().V1().Namespaces()
	c := &Controller{client: env.Client, namespaces: namespaces.Lister(), catalog: catalog}
	c.Loop = loop.New("namespace", env, c.sync)
	loop.Watch(c.Loop, namespaces.Informer(), func(_, cur *corev1.Namespace) {
		if cur != nil && finalizing(cur) {
			c.Add(loop.NameOf(cur))
		}
	})
	for _, r := range catalog.All {
		if r.Namespaced && r.Informer != nil {
			c.Follow(r.Informer, cache.ResourceEventHandlerFuncs{DeleteFunc: c.objectGone})
		}
	}
	return c
}

func (c *Controller) objectGone(obj any) {
	name, err := cache.DeletionHandlingObjectToName(obj)
	if err != nil {
		return
	}
	if ns, err := c.namespaces.Get(name.Namespace); err == nil && finalizing(ns) {
		c.Add(loop.NameOf(ns))
	}
}

// sync empties one namespace as far as it can be.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	ns, err := c.namespaces.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !finalizing(ns) {
		return err
	}
	f := c.empty(ctx, ns.Name)
	if f.empty() {
		return c.finalize(ctx, ns)
	}
	if err := c.report(ctx, ns, f); err != nil {
		return err
	}
	if len(f.errs) > 0 {
		return fmt.Errorf("empty namespace %s: %w", ns.Name, errors.Join(f.errs...))
	}
	c.AddAfter(name, recheck)
	return nil
}

// empty asks for the deletion of everything and notes what is still there: Pods first,
// so that none outlives the ConfigMaps and Secrets it uses.
func (c *Controller) empty(ctx context.Context, ns string) *found {
	f := newFound()
	for _, pods := range []bool{true, false} {
		for _, r := range c.catalog.All {
			if !r.Namespaced || isPods(r) != pods {
				continue
			}
			items, err := c.emptyOf(ctx, r, ns)
			if err != nil {
				f.errs = append(f.errs, err)
			}
			f.note(r.GroupResource().String(), items)
		}
		if !f.empty() {
			break
		}
	}
	return f
}

func isPods(r *resources.Resource) bool {
	return r.Group == corev1.GroupName && r.Resource == string(corev1.ResourcePods)
}

// emptyOf deletes a namespace's objects of one resource and returns those that stay
// for a while: Pods that end gracefully, objects with finalizers.
func (c *Controller) emptyOf(ctx context.Context, r *resources.Resource, ns string) ([]metav1.PartialObjectMetadata, error) {
	client := c.catalog.Objects(r, ns)
	before, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.GroupResource(), err)
	}
	doomed := slices.DeleteFunc(slices.Clone(before.Items), func(o metav1.PartialObjectMetadata) bool { return o.DeletionTimestamp != nil })
	if len(doomed) == 0 {
		return before.Items, nil
	}
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if r.DeleteCollection {
		err = client.DeleteCollection(ctx, options, metav1.ListOptions{})
	} else {
		for _, o := range doomed {
			if err = client.Delete(ctx, o.Name, options); err != nil && !apierrors.IsNotFound(err) {
				break
			}
		}
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return before.Items, fmt.Errorf("delete all %s: %w", r.GroupResource(), err)
	}
	after, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.GroupResource(), err)
	}
	return after.Items, nil
}

// report writes the conditions, if they changed.
func (c *Controller) report(ctx context.Context, ns *corev1.Namespace, f *found) error {
	next := ns.DeepCopy()
	if !setConditions(&next.Status, conditions(f), metav1.Now()) {
		return nil
	}
	if _, err := c.client.CoreV1().Namespaces().UpdateStatus(ctx, next, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status of namespace %s: %w", ns.Name, err)
	}
	return nil
}

// finalize lets the namespace go.
func (c *Controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	next := ns.DeepCopy()
	next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if _, err := c.client.CoreV1().Namespaces().Finalize(ctx, next, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("finalize namespace %s: %w", ns.Name, err)
	}
	return nil
}
