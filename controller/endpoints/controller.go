// Package endpoints keeps one Endpoints object for each Service with a selector: the
// older form of what EndpointSlices say, still read by many clients.
//
// Upstream counterpart: pkg/controller/endpoint.
//
// What flows in: Services, Pods, Endpoints. What flows out: Endpoints.
package endpoints

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/backend"
	"orrery.example.org/controller/loop"
)

// Controller is the loop. Its names are those of Services, and so of their Endpoints.
type Controller struct {
	*loop.Loop[loop.Name]

	client    kubernetes.Interface
	services  corelisters.ServiceLister
	endpoints corelisters.EndpointsLister
	backends  *backend.Index
	triggers  *backend.Triggers
	events    record.EventRecorder
}

// New makes the loop and says what wakes it.
func New(env loop.Env) (*Controller, error) {
	core := env.Informers.Core().V1()
	pods, services := core.Pods().Informer(), core.Services().Informer()
	backends, err := backend.NewIndex(pods, services)
	if err != nil {
		return nil, err
	}
	c := &Controller{
		client:    env.Client,
		services:  core.Services().Lister(),
		endpoints: core.Endpoints().Lister(),
		backends:  backends,
		triggers:  backend.NewTriggers(),
		events:    env.Recorder("endpoint-controller"),
	}
	c.Loop = loop.New("endpoints", env, c.sync)
	c.Unhurried()
	loop.Watch(c.Loop, services, func(old, cur *corev1.Service) {
		if cur == nil {
			cur = old
		}
		c.Add(loop.NameOf(cur))
	})
	loop.Watch(c.Loop, pods, c.podChanged)
	loop.Watch(c.Loop, core.Endpoints().Informer(), c.endpointsChanged)
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

// endpointsChanged restores ours when somebody else changed or removed them, and at
// the start finds those whose Service went away while nobody was looking. Endpoints
// that people write are left alone: their Service may be about to be made.
func (c *Controller) endpointsChanged(old, cur *corev1.Endpoints) {
	for _, e := range []*corev1.Endpoints{old, cur} {
		if e != nil && e.Labels[managedByLabel] == managedBy {
			c.Add(loop.NameOf(e))
			return
		}
	}
}

// sync makes one Service's Endpoints what they should be.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	current, err := c.endpoints.Endpoints(name.Namespace).Get(name.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	svc, err := c.services.Services(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		c.triggers.Forget(name)
		return c.remove(ctx, name, current)
	}
	if err != nil || !backend.Accepts(svc) {
		return err
	}
	pods, err := c.backends.Pods(svc)
	if err != nil {
		return err
	}
	next, differs := Desired(svc, pods, current, c.triggers.Last(svc, pods))
	if !differs {
		return nil
	}
	return c.write(ctx, svc, next, current == nil)
}

func (c *Controller) write(ctx context.Context, svc *corev1.Service, next *corev1.Endpoints, create bool) error {
	client := c.client.CoreV1().Endpoints(svc.Namespace)
	var err error
	verb, reason := "update", "FailedToUpdateEndpoint"
	if create {
		verb, reason = "create", "FailedToCreateEndpoint"
		_, err = client.Create(ctx, next, metav1.CreateOptions{})
	} else {
		_, err = client.Update(ctx, next, metav1.UpdateOptions{})
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsAlreadyExists(err):
		return loop.ErrStale // made already, by us or by somebody else; the cache will show it
	case !apierrors.IsConflict(err) && ctx.Err() == nil:
		c.events.Eventf(next, corev1.EventTypeWarning, reason, "Failed to %s endpoint %s/%s: %v", verb, svc.Namespace, svc.Name, err)
	}
	return fmt.Errorf("%s Endpoints %s/%s: %w", verb, svc.Namespace, svc.Name, err)
}

// remove deletes the Endpoints of a Service that is gone. Endpoints have no owner.
func (c *Controller) remove(ctx context.Context, name loop.Name, current *corev1.Endpoints) error {
	if current == nil {
		return nil
	}
	err := c.client.CoreV1().Endpoints(name.Namespace).Delete(ctx, name.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &current.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Endpoints %s of a Service that is gone: %w", name, err)
	}
	return nil
}
