// Package loadbalancer gives Services of type LoadBalancer their addresses.
//
// Upstream counterpart: the service controller of k8s.io/cloud-provider
// (controllers/service), with the cloud it calls reduced to a pool of addresses.
//
// What flows in: Services and Nodes. What flows out: status.loadBalancer, the finalizer
// that keeps a Service until its address is free again, and upstream's events. The
// packets are the business of lb, which reads the addresses from the API.
//
// A Service without a free address waits. It is looked at again when one is released,
// not by the clock.
//
// Kubernetes: there the cloud knows which addresses are taken. Here the Services
// themselves are the record: all of them pass the watch before the first address is
// handed out.
package loadbalancer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
)

// Options say what there is to hand out, and to whom.
type Options struct {
	Pool  []string // CIDRs and ranges
	Class string   // the loadBalancerClass that is ours, besides none at all
}

// Validate reports whether the pool can be read.
func (o Options) Validate() error {
	_, err := parsePool(o.Pool)
	return err
}

// Controller is the loop. Its names are those of Services.
type Controller struct {
	*loop.Loop[loop.Name]

	client   kubernetes.Interface
	services corelisters.ServiceLister
	nodes    corelisters.NodeLister
	events   record.EventRecorder
	class    string

	mu      sync.Mutex
	pool    *pool
	waiting map[loop.Name]bool    // for an address
	ensured map[loop.Name]ensured // what they had when they were looked at last
}

// ensured is what a load balancer was set up for.
type ensured struct {
	relevant relevant
	nodes    string
}

// New makes the loop and says what wakes it.
func New(env loop.Env, o Options) (*Controller, error) {
	pool, err := parsePool(o.Pool)
	if err != nil {
		return nil, err
	}
	core := env.Informers.Core().V1()
	c := &Controller{
		client: env.Client, services: core.Services().Lister(), nodes: core.Nodes().Lister(),
		events: env.Recorder("service-controller"), class: o.Class,
		pool: pool, waiting: map[loop.Name]bool{}, ensured: map[loop.Name]ensured{},
	}
	env.Workers = 1 // Services get their addresses in the order they came
	c.Loop = loop.New("loadbalancer", env, c.sync)
	loop.Watch(c.Loop, core.Services().Informer(), c.serviceChanged)
	loop.Watch(c.Loop, core.Nodes().Informer(), c.nodeChanged)
	return c, nil
}

// serviceChanged notes the addresses that Services have before any is handed out.
func (c *Controller) serviceChanged(old, cur *corev1.Service) {
	if cur == nil {
		c.Add(loop.NameOf(old))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := loop.NameOf(cur)
	if wants(cur, c.class) && !needsCleanup(cur, c.class) {
		c.pool.occupy(name, addressesOf(cur))
	}
	if wants(cur, c.class) || needsCleanup(cur, c.class) || len(c.pool.of(name)) > 0 {
		c.Add(name)
	}
}

// nodeChanged has every Service told of a change in who takes part.
func (c *Controller) nodeChanged(old, cur *corev1.Node) {
	if (old != nil && takesPart(old)) == (cur != nil && takesPart(cur)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.ensured {
		c.Add(name)
	}
}

// forget takes a Service's addresses back and gives those that wait a chance.
func (c *Controller) forget(name loop.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, name)
	delete(c.ensured, name)
	if !c.pool.release(name) {
		return
	}
	for other := range c.waiting {
		c.Add(other)
	}
}

// sync gives one Service its address, or takes it back.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	svc, err := c.services.Services(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		c.forget(name) // it went without our consent
		return nil
	}
	if err != nil {
		return err
	}
	if wants(svc, c.class) && svc.DeletionTimestamp == nil {
		return c.ensure(ctx, svc)
	}
	return c.cleanUp(ctx, svc)
}

// ensure makes a Service have an address. Events tell of it when something changed that
// would make a cloud set its load balancer up again.
func (c *Controller) ensure(ctx context.Context, svc *corev1.Service) error {
	name, want := loop.NameOf(svc), ensured{relevant: relevantOf(svc), nodes: c.hosts()}
	c.mu.Lock()
	last, known := c.ensured[name]
	addrs, noAddress := c.pool.assign(name, familiesOf(svc), svc.Spec.LoadBalancerIP)
	c.mu.Unlock()

	changed := !known || !last.relevant.equal(want.relevant)
	if changed {
		c.events.Event(svc, corev1.EventTypeNormal, "EnsuringLoadBalancer", "Ensuring load balancer")
	}
	next := withFinalizer(svc)
	if noAddress == nil {
		next.Status.LoadBalancer = statusOf(svc, addrs)
	}
	if err := c.patch(ctx, svc, next); err != nil {
		return fmt.Errorf("write the load balancer's status of Service %s: %w", name, err)
	}
	c.note(name, want, noAddress != nil)
	if noAddress != nil {
		c.events.Eventf(svc, corev1.EventTypeWarning, "SyncLoadBalancerFailed", "Error syncing load balancer: failed to ensure load balancer: %v", noAddress)
		return nil
	}
	switch {
	case want.nodes == "" && (changed || last.nodes != ""):
		c.events.Event(svc, corev1.EventTypeWarning, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")
	case !changed && want.nodes != last.nodes:
		c.events.Event(svc, corev1.EventTypeNormal, "UpdatedLoadBalancer", "Updated load balancer with new hosts")
	}
	if changed {
		c.events.Event(svc, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	}
	return nil
}

// note remembers what a Service's load balancer was set up for, and whether the Service
// waits for an address.
func (c *Controller) note(name loop.Name, now ensured, waits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ensured[name] = now
	delete(c.waiting, name)
	if waits {
		c.waiting[name] = true
	}
}

// cleanUp takes the address back. The Service is told first: an address whose Service
// does not know of its loss must not go to another one.
func (c *Controller) cleanUp(ctx context.Context, svc *corev1.Service) error {
	name := loop.NameOf(svc)
	if needsCleanup(svc, c.class) {
		c.events.Event(svc, corev1.EventTypeNormal, "DeletingLoadBalancer", "Deleting load balancer")
		if err := c.patch(ctx, svc, cleanedUp(svc)); err != nil {
			return fmt.Errorf("remove the load balancer cleanup finalizer of Service %s: %w", name, err)
		}
		c.events.Event(svc, corev1.EventTypeNormal, "DeletedLoadBalancer", "Deleted load balancer")
	}
	c.forget(name)
	return nil
}

// patch writes finalizers and status, in one request. It carries the UID, so that it
// meets the Service that was looked at or none: 409 is a new one of the same name.
func (c *Controller) patch(ctx context.Context, old, next *corev1.Service) error {
	if equality.Semantic.DeepEqual(old, next) {
		return nil
	}
	bare := old.DeepCopy()
	bare.UID = ""
	before, err := json.Marshal(bare)
	if err != nil {
		return err
	}
	after, err := json.Marshal(next)
	if err != nil {
		return err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Service{})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Services(old.Namespace).Patch(ctx, old.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil // gone meanwhile
	}
	return err
}

// hosts names the nodes that take part.
func (c *Controller) hosts() string {
	nodes, _ := c.nodes.List(labels.Everything()) // from memory: it cannot fail
	var names []string
	for _, n := range nodes {
		if takesPart(n) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
