// Package endpointslicemirroring copies Endpoints that somebody writes by hand into
// EndpointSlices: those of Services without a selector. Whoever routes traffic reads
// slices only.
//
// Upstream counterpart: pkg/controller/endpointslicemirroring.
//
// What flows in: Endpoints, Services, EndpointSlices. What flows out: EndpointSlices,
// owned by their Endpoints. Endpoints with the label skip-mirror or a leader's record
// are left alone, and so is everything that has its own slices.
//
// Kubernetes: upstream remembers the slices it wrote until its cache shows them. What
// people write by hand changes rarely, so here the slices are read from the API server.
package endpointslicemirroring

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
)

// managedBy tells our slices from those that people and other controllers write.
const managedBy = "endpointslicemirroring-controller.k8s.io"

// Controller is the loop. Its names are those of Endpoints, which are their Service's.
type Controller struct {
	*loop.Loop[loop.Name]

	client    kubernetes.Interface
	services  corelisters.ServiceLister
	endpoints corelisters.EndpointsLister
	slices    cache.Indexer
	recorder  record.EventRecorder
}

// New makes the loop and says what wakes it.
func New(env loop.Env) (*Controller, error) {
	core := env.Informers.Core().V1()
	slices := env.Informers.Discovery().V1().EndpointSlices().Informer()
	if err := loop.AddIndex(slices, index, byName); err != nil {
		return nil, err
	}
	c := &Controller{
		client: env.Client, services: core.Services().Lister(), endpoints: core.Endpoints().Lister(),
		slices:   slices.GetIndexer(),
		recorder: env.Recorder("endpoint-slice-mirroring-controller"),
	}
	c.Loop = loop.New("endpointslicemirroring", env, c.sync)
	loop.Watch(c.Loop, core.Services().Informer(), func(old, cur *corev1.Service) {
		if selects(old) != selects(cur) || old == nil || cur == nil {
			c.Add(nameOf(old, cur))
		}
	})
	loop.Watch(c.Loop, core.Endpoints().Informer(), func(old, cur *corev1.Endpoints) {
		if mirrored(old) || mirrored(cur) {
			c.Add(nameOf(old, cur))
		}
	})
	loop.Watch(c.Loop, slices, func(old, cur *discoveryv1.EndpointSlice) {
		for _, slice := range []*discoveryv1.EndpointSlice{old, cur} {
			if slice == nil || slice.Labels[discoveryv1.LabelManagedBy] != managedBy {
				continue
			}
			c.Add(mirrorOf(slice))
		}
	})
	return c, nil
}

func nameOf[T interface {
	comparable
	metav1.Object
}](old, cur T) loop.Name {
	var none T
	if cur == none {
		cur = old
	}
	return loop.NameOf(cur)
}

func selects(svc *corev1.Service) bool { return svc != nil && svc.Spec.Selector != nil }

// mirrored says whether the Endpoints are meant to be copied, if their Service agrees.
func mirrored(e *corev1.Endpoints) bool {
	if e == nil || e.Labels[discoveryv1.LabelSkipMirror] == "true" {
		return false
	}
	_, leader := e.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]
	return !leader
}

// sync makes the slices of one Endpoints what they should be.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	svc, err := c.services.Services(name.Namespace).Get(name.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	e, missing := c.endpoints.Endpoints(name.Namespace).Get(name.Name)
	if missing != nil && !apierrors.IsNotFound(missing) {
		return missing
	}
	wanted := err == nil && missing == nil && mirrored(e) && !selects(svc)
	if !wanted && !c.has(name) {
		return nil // nearly all names: the Endpoints of Services with selectors
	}
	existing, err := c.existing(ctx, name)
	if err != nil {
		return err
	}
	if !wanted {
		return c.write(ctx, name, plan{remove: existing})
	}
	p := desired(e, existing)
	if p.invalid > 0 {
		c.recorder.Eventf(e, corev1.EventTypeWarning, "InvalidIPAddress",
			"Skipped %d invalid IP addresses when mirroring to EndpointSlices", p.invalid)
	}
	if p.skipped > p.invalid {
		c.recorder.Eventf(e, corev1.EventTypeWarning, "TooManyAddressesToMirror",
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", maxEndpoints, p.skipped)
	}
	if e.DeletionTimestamp != nil {
		p.create = nil
	}
	if err := c.write(ctx, name, p); err != nil {
		if !apierrors.IsConflict(err) && ctx.Err() == nil {
			c.recorder.Eventf(e, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
				"Error updating EndpointSlices for Endpoints %s: %v", name, err)
		}
		return err
	}
	return nil
}

// index finds the cached slices of ours by their Endpoints.
const index = "mirrored"

func byName(obj any) ([]string, error) {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && slice.Labels[discoveryv1.LabelManagedBy] == managedBy {
		return []string{mirrorOf(slice).String()}, nil
	}
	return nil, nil
}

func mirrorOf(slice *discoveryv1.EndpointSlice) loop.Name {
	return loop.Name{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

// has says whether the cache knows slices of ours. One that it doesn't know yet wakes
// the loop when it comes.
func (c *Controller) has(name loop.Name) bool {
	found, err := c.slices.IndexKeys(index, name.String())
	return err != nil || len(found) > 0
}

// existing reads our slices from the API server.
func (c *Controller) existing(ctx context.Context, name loop.Name) ([]*discoveryv1.EndpointSlice, error) {
	ours := labels.Set{discoveryv1.LabelServiceName: name.Name, discoveryv1.LabelManagedBy: managedBy}
	list, err := c.client.DiscoveryV1().EndpointSlices(name.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ours.String()})
	if err != nil {
		return nil, fmt.Errorf("list the EndpointSlices of %s: %w", name, err)
	}
	var found []*discoveryv1.EndpointSlice
	for i := range list.Items {
		found = append(found, &list.Items[i])
	}
	return found, nil
}

// write carries out a plan, new slices first: nobody shall find none.
func (c *Controller) write(ctx context.Context, name loop.Name, p plan) error {
	client := c.client.DiscoveryV1().EndpointSlices(name.Namespace)
	for _, slice := range p.create {
		if _, err := client.Create(ctx, slice, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create EndpointSlice for Endpoints %s: %w", name, err)
		}
	}
	for _, slice := range p.update {
		if _, err := client.Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update EndpointSlice %s for Endpoints %s: %w", slice.Name, name, err)
		}
	}
	for _, slice := range p.remove {
		if err := client.Delete(ctx, slice.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete EndpointSlice %s for Endpoints %s: %w", slice.Name, name, err)
		}
	}
	return nil
}
