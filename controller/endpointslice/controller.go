// Package endpointslice keeps the EndpointSlices of each Service with a selector: the
// addresses and ports of the Pods behind it, and which of them take traffic.
//
// Upstream counterpart: pkg/controller/endpointslice and k8s.io/endpointslice.
//
// What flows in: Services, Pods, Nodes (for their zones), EndpointSlices. What flows
// out: EndpointSlices, which the proxies and the DNS server watch. They are owned by
// their Service, so the garbage collector removes them after it.
package endpointslice

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/backend"
	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// managedBy tells our slices from those that people and other controllers write.
const managedBy = "endpointslice-controller.k8s.io"

// serviceIndex is the index of our slices by Service.
const serviceIndex = "service"

// Controller is the loop. Its names are those of Services.
type Controller struct {
	*loop.Loop[loop.Name]

	client   kubernetes.Interface
	services corelisters.ServiceLister
	nodes    corelisters.NodeLister
	backends *backend.Index
	slices   cache.Indexer
	pods     cache.Indexer
	triggers *backend.Triggers
	tracker  *tracker
	hints    *announced
	events   record.EventRecorder
}

// New makes the loop and says what wakes it.
func New(env loop.Env) (*Controller, error) {
	core := env.Informers.Core().V1()
	pods, services, nodes := core.Pods().Informer(), core.Services().Informer(), core.Nodes().Informer()
	slices := env.Informers.Discovery().V1().EndpointSlices().Informer()
	backends, err := backend.NewIndex(pods, services)
	if err != nil {
		return nil, err
	}
	if err := loop.AddIndex(slices, serviceIndex, byService); err != nil {
		return nil, err
	}
	if err := loop.AddIndex(pods, podstate.NodeIndex, podstate.ByNode); err != nil {
		return nil, err
	}
	c := &Controller{
		client:   env.Client,
		services: core.Services().Lister(),
		nodes:    core.Nodes().Lister(),
		backends: backends,
		slices:   slices.GetIndexer(),
		pods:     pods.GetIndexer(),
		triggers: backend.NewTriggers(),
		tracker:  newTracker(),
		hints:    &announced{said: map[loop.Name]map[discoveryv1.AddressType]string{}},
		events:   env.Recorder("endpoint-slice-controller"),
	}
	c.Loop = loop.New("endpointslice", env, c.sync)
	c.Unhurried()
	loop.Watch(c.Loop, services, func(old, cur *corev1.Service) {
		if cur == nil {
			cur = old
		}
		c.Add(loop.NameOf(cur))
	})
	loop.Watch(c.Loop, pods, c.podChanged)
	loop.Watch(c.Loop, nodes, c.nodeChanged)
	loop.Watch(c.Loop, slices, c.sliceChanged)
	return c, nil
}

func (c *Controller) podChanged(old, cur *corev1.Pod) {
	services, err := c.backends.Affected(old, cur)
	if err != nil {
		c.Log().Error("find the Services of a Pod", "err", err)
	}
	for _, svc := range services {
		c.Add(svc)
	}
}

// nodeChanged matters where a node appears or goes away, or moves to another zone.
func (c *Controller) nodeChanged(old, cur *corev1.Node) {
	c.sharesChanged(old, cur)
	if old != nil && cur != nil && old.Labels[corev1.LabelTopologyZone] == cur.Labels[corev1.LabelTopologyZone] {
		return
	}
	if cur == nil {
		cur = old
	}
	pods, err := loop.ByIndex[*corev1.Pod](c.pods, podstate.NodeIndex, cur.Name)
	if err != nil {
		c.Log().Error("find the Pods of a node", "err", err)
	}
	for _, pod := range pods {
		c.podChanged(nil, pod)
	}
}

// sliceChanged looks at a Service again when somebody else touched its slices.
func (c *Controller) sliceChanged(old, cur *discoveryv1.EndpointSlice) {
	slice := cur
	if slice == nil {
		slice = old
	}
	svc, ours := serviceOf(slice)
	if ours && c.tracker.saw(svc, slice, cur == nil) {
		c.Add(svc)
	}
	if old == nil || cur == nil {
		return
	}
	if before, ok := serviceOf(old); ok && before != svc {
		c.tracker.saw(before, slice, true) // relabelled: for that Service it is gone
		c.Add(before)
	}
}

// serviceOf is the Service that one of our slices belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) (loop.Name, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	return loop.Name{Namespace: slice.Namespace, Name: name},
		name != "" && slice.Labels[discoveryv1.LabelManagedBy] == managedBy
}

func byService(obj any) ([]string, error) {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
		if svc, ok := serviceOf(slice); ok {
			return []string{svc.String()}, nil
		}
	}
	return nil, nil
}

// sync makes one Service's slices what they should be.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	svc, err := c.services.Services(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		c.triggers.Forget(name)
		c.tracker.forget(name)
		c.hints.news(name, nil)
		return nil
	}
	if err != nil || !backend.Accepts(svc) {
		return err
	}
	pods, err := c.backends.Pods(svc)
	if err != nil {
		return err
	}
	existing, err := loop.ByIndex[*discoveryv1.EndpointSlice](c.slices, serviceIndex, name.String())
	if err != nil {
		return err
	}
	if c.tracker.stale(name, existing) {
		return loop.ErrStale
	}
	snapshot := Snapshot{Service: svc, Pods: pods, Existing: existing, Node: c.node, Trigger: c.triggers.Last(svc, pods)}
	if automatic(svc) {
		nodes, err := c.nodes.List(labels.Everything())
		if err != nil {
			return err
		}
		snapshot.Shares = cpuShares(nodes)
	}
	plan := Desired(snapshot)
	if err := c.apply(ctx, name, plan); err != nil {
		if !apierrors.IsConflict(err) && ctx.Err() == nil {
			c.events.Eventf(svc, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
				"Error updating Endpoint Slices for Service %s/%s: %v", svc.Namespace, svc.Name, err)
		}
		return err
	}
	c.announce(svc, plan.Hints)
	return nil
}

// apply writes a plan. New slices come first: an endpoint that moves is briefly in two
// slices and never in none.
func (c *Controller) apply(ctx context.Context, svc loop.Name, plan Plan) error {
	client := c.client.DiscoveryV1().EndpointSlices(svc.Namespace)
	for _, slice := range plan.Create {
		made, err := client.Create(ctx, slice, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create EndpointSlice for Service %s: %w", svc, err)
		}
		c.tracker.wrote(svc, made)
	}
	for _, slice := range plan.Update {
		written, err := client.Update(ctx, slice, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("update EndpointSlice %s for Service %s: %w", slice.Name, svc, err)
		}
		c.tracker.wrote(svc, written)
	}
	var errs []error
	for _, slice := range plan.Delete {
		err := client.Delete(ctx, slice.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete EndpointSlice %s for Service %s: %w", slice.Name, svc, err))
			continue
		}
		c.tracker.deleted(svc, slice)
	}
	return errors.Join(errs...)
}

func (c *Controller) node(name string) *corev1.Node {
	node, err := c.nodes.Get(name)
	if err != nil {
		return nil // only possible where there is none
	}
	return node
}
