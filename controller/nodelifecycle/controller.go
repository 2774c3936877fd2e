// Package nodelifecycle notices nodes that went silent and draws the consequences: the
// node's conditions become Unknown, its Pods not ready (so that no traffic goes there),
// it is tainted, and Pods that do not tolerate the taint are evicted.
//
// Upstream counterpart: pkg/controller/nodelifecycle and pkg/controller/tainteviction.
//
// What flows in: Nodes, their Leases in kube-node-lease, Pods. What flows out: node
// status and taints, Pod readiness, Pod deletions.
//
// Kubernetes: upstream evicts zone by zone and at a limited rate. Here there is one
// zone and no limit, but the rule that nobody is evicted when all nodes are silent.
package nodelifecycle

import (
	"context"
	"errors"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	coordinationlisters "k8s.io/client-go/listers/coordination/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// Controller is the loop. Its names are those of nodes.
type Controller struct {
	*loop.Loop[loop.Name]

	client  kubernetes.Interface
	nodes   corelisters.NodeLister
	leases  coordinationlisters.LeaseLister
	pods    cache.Indexer
	events  record.EventRecorder
	options Options

	mu   sync.Mutex
	seen map[string]*health
}

// health is what we know of a node beyond what the API says.
type health struct {
	sign sign
	at   time.Time // when the sign last changed, by our clock
	lost bool      // the node stopped being ready and its Pods must be told
}

// New makes the loop and says what wakes it.
func New(env loop.Env, o Options) (*Controller, error) {
	core := env.Informers.Core().V1()
	leases := env.Informers.Coordination().V1().Leases()
	if err := loop.AddIndex(core.Pods().Informer(), podstate.NodeIndex, podstate.ByNode); err != nil {
		return nil, err
	}
	c := &Controller{
		client:  env.Client,
		nodes:   core.Nodes().Lister(),
		leases:  leases.Lister(),
		pods:    core.Pods().Informer().GetIndexer(),
		events:  env.Recorder("node-controller"),
		options: o,
		seen:    map[string]*health{},
	}
	c.Loop = loop.New("nodelifecycle", env, c.sync)
	loop.Watch(c.Loop, core.Nodes().Informer(), c.nodeChanged)
	loop.Watch(c.Loop, leases.Informer(), c.leaseChanged)
	loop.Watch(c.Loop, core.Pods().Informer(), c.podChanged)
	return c, nil
}

func (c *Controller) nodeChanged(old, cur *corev1.Node) {
	switch {
	case old == nil:
		c.events.Eventf(cur, corev1.EventTypeNormal, "RegisteredNode", "Node %s event: Registered Node %s in Controller", cur.Name, cur.Name)
		c.observe(cur)
	case cur == nil:
		c.events.Eventf(old, corev1.EventTypeNormal, "RemovingNode", "Node %s event: Removing Node %s from Controller", old.Name, old.Name)
		c.forget(old.Name)
	default:
		c.observe(cur)
	}
	if old != nil && cur != nil && readiness(old) == readiness(cur) {
		c.Add(loop.NameOf(cur))
		return
	}
	if old != nil && cur != nil && isReady(old) {
		c.setLost(cur.Name, true)
		c.events.Eventf(cur, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", cur.Name)
	}
	c.addAll() // whether any node is ready decides for all of them
}

func (c *Controller) addAll() {
	all, err := c.nodes.List(labels.Everything())
	if err != nil {
		c.Log().Error("list nodes", "err", err)
	}
	for _, node := range all {
		c.Add(loop.NameOf(node))
	}
}

// leaseChanged notes that a node is alive. It has nothing to do until it is not.
func (c *Controller) leaseChanged(_, cur *coordinationv1.Lease) {
	if cur == nil || cur.Namespace != corev1.NamespaceNodeLease {
		return
	}
	if node, err := c.nodes.Get(cur.Name); err == nil {
		c.observe(node)
	}
}

// podChanged has a Pod that was bound to a lost node marked not ready.
func (c *Controller) podChanged(old, cur *corev1.Pod) {
	if cur != nil && cur.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "") {
		c.Add(loop.Name{Name: cur.Spec.NodeName})
	}
}

// observe notes a node's sign of life and returns when it was last seen alive.
func (c *Controller) observe(node *corev1.Node) time.Time {
	var renewed time.Time
	lease, err := c.leases.Leases(corev1.NamespaceNodeLease).Get(node.Name)
	if err == nil && lease.Spec.RenewTime != nil {
		renewed = lease.Spec.RenewTime.Time
	}
	now := signOf(node, renewed)
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.seen[node.Name]
	if h == nil {
		// A node that we see for the first time gets the whole grace period.
		h = &health{at: time.Now()}
		c.seen[node.Name] = h
	} else if now.alive(h.sign) {
		h.at = time.Now()
	}
	h.sign = now
	return h.at
}

func (c *Controller) setLost(node string, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.seen[node]; h != nil {
		h.lost = lost
	}
}

func (c *Controller) isLost(node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.seen[node]
	return h != nil && h.lost
}

func (c *Controller) forget(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, node)
}

// sync looks at one node.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	node, err := c.nodes.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	node = node.DeepCopy()
	if due := c.options.dueIn(node, c.observe(node), time.Now()); due > 0 {
		c.AddAfter(name, min(due, c.options.MonitorPeriod))
	} else if node, err = c.markLost(ctx, node); err != nil {
		return err
	} else {
		c.AddAfter(name, c.options.MonitorPeriod)
	}
	// The Pods first: taking them out of the endpoints is what users wait for.
	return errors.Join(c.markPods(ctx, node), c.taint(ctx, node))
}
