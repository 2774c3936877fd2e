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
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
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

// markLost writes that nothing is known of the node any more.
func (c *Controller) markLost(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	wasReady := isReady(node)
	if !lose(node, metav1.Now()) {
		return node, nil
	}
	c.Log().Info("node stopped reporting", "node", node.Name)
	written, err := c.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("mark node %s unknown: %w", node.Name, err)
	}
	if wasReady {
		c.setLost(node.Name, true)
		c.events.Eventf(node, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	}
	return written, nil
}

// markPods takes the Pods of a node that is not ready out of service. While the node
// is silent that holds for every Pod; once its agent speaks again, the agent decides.
func (c *Controller) markPods(ctx context.Context, node *corev1.Node) error {
	if isReady(node) {
		c.setLost(node.Name, false)
		return nil
	}
	if !c.isLost(node.Name) && readiness(node) != corev1.ConditionUnknown {
		return nil
	}
	pods, err := loop.ByIndex[*corev1.Pod](c.pods, podstate.NodeIndex, node.Name)
	if err != nil {
		return err
	}
	errs := loop.Parallel(len(pods), func(i int) error { return c.markPod(ctx, pods[i]) })
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	c.setLost(node.Name, false)
	return nil
}

func (c *Controller) markPod(ctx context.Context, pod *corev1.Pod) error {
	if !podstate.IsReady(pod) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []map[string]any{{
			"type": corev1.PodReady, "status": corev1.ConditionFalse, "lastTransitionTime": metav1.Now(),
		}}},
	})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark Pod %s/%s not ready: %w", pod.Namespace, pod.Name, err)
	}
	c.events.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	return nil
}

// taint gives the node the taints that its conditions ask for.
func (c *Controller) taint(ctx context.Context, node *corev1.Node) error {
	all, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	// The cache may lag behind what this pass has just written of the node.
	all = slices.Clone(all)
	for i := range all {
		if all[i].Name == node.Name {
			all[i] = node
		}
	}
	taints := desiredTaints(node, disrupted(all), metav1.Now())
	if apiequality.Semantic.DeepEqual(taints, node.Spec.Taints) {
		return nil
	}
	next := node.DeepCopy()
	next.Spec.Taints = taints
	if _, err := c.client.CoreV1().Nodes().Update(ctx, next, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taint node %s: %w", node.Name, err)
	}
	return nil
}
