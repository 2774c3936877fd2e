package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/node/network"
	"orrery.example.org/node/status"
)

// nodes watches all Nodes: the agent's own for its podCIDR and its status, the
// others for the routes to their Pods.
type nodes struct {
	node    *Node
	lister  corelisters.NodeLister
	changed chan struct{} // holds a token when something changed since it was last taken
	stop    func()
}

// errStopped is what waiting ends with when the agent is stopped.
var errStopped = errors.New("stopped")

func (n *Node) watchNodes(ctx context.Context) (*nodes, error) {
	ctx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(n.all, 0, informers.WithTransform(slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			if n.alone {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, n.cfg.Name).String()
			}
		}))
	informer := factory.Core().V1().Nodes()
	w := &nodes{node: n, lister: informer.Lister(), changed: make(chan struct{}, 1)}
	w.stop = func() {
		cancel()
		factory.Shutdown() // waits for the watch to end
	}
	if _, err := informer.Informer().AddEventHandler(onAny(func(any) { poke(w.changed) })); err != nil {
		w.stop()
		return nil, err
	}
	factory.StartWithContext(ctx)
	return w, nil
}

// poke leaves a token without waiting.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is there already
	}
}

// onAny calls f with the object of every event.
func onAny(f func(any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{AddFunc: f, UpdateFunc: func(_, obj any) { f(obj) }, DeleteFunc: f}
}

// slim drops what the agent never reads from the objects it keeps.
func slim(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok && len(o.GetManagedFields()) > 0 {
		o.SetManagedFields(nil)
	}
	return obj, nil
}

// podCIDRs waits until the node's share of the Pod network was assigned to it.
func (w *nodes) podCIDRs(ctx context.Context) ([]netip.Prefix, error) {
	for {
		if self, err := w.lister.Get(w.node.cfg.Name); err == nil {
			if cidrs := network.PodCIDRs(self); len(cidrs) > 0 {
				return cidrs, nil
			}
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return nil, errStopped
		}
	}
}

// follow keeps the routes and the node's status right.
func (w *nodes) follow(ctx context.Context) {
	heartbeat := time.NewTicker(w.node.cfg.StatusInterval)
	defer heartbeat.Stop()
	repair := time.NewTicker(network.RepairInterval)
	defer repair.Stop()
	due := false
	var retry <-chan time.Time
	for {
		err := errors.Join(w.syncRoutes(), w.node.syncStatus(ctx, w.lister, due))
		due, retry = false, nil
		if err != nil && ctx.Err() == nil {
			w.node.cfg.Log.Error("keeping routes and status of the node", "err", err)
			retry = time.After(time.Second)
		}
		select {
		case <-w.changed:
		case <-retry:
		case <-repair.C:
		case <-heartbeat.C:
			due = true
		case <-ctx.Done():
			return
		}
	}
}

func (w *nodes) syncRoutes() error {
	all, err := w.lister.List(labels.Everything())
	if err != nil {
		return err
	}
	return w.node.network.Reach(network.Peers(all, w.node.cfg.Name))
}

// syncStatus reports the node as Ready when the API says anything else, which may be
// because nodelifecycle missed the node's heartbeats. A report that is due is sent
// in any case.
func (n *Node) syncStatus(ctx context.Context, lister corelisters.NodeLister, due bool) error {
	self, err := lister.Get(n.cfg.Name)
	if apierrors.IsNotFound(err) {
		return n.registerAgain(ctx) // the watch tells when it is there
	}
	if err != nil {
		return err
	}
	report := n.cfg.nodeStatus(n.facts, true, metav1.Now())
	if !due && status.SameNode(self.Status, status.MergeNode(self.Status, report)) {
		return nil
	}
	if _, err := n.patchNodeStatus(ctx, self, report); err != nil {
		return fmt.Errorf("report status: %w", err)
	}
	select {
	case <-n.ready:
	default:
		close(n.ready)
		n.nodeEvent("NodeReady", "Node "+n.cfg.Name+" status is now: NodeReady")
	}
	return nil
}
