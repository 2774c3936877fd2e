// Package nodeipam gives each node its range of Pod addresses, spec.podCIDR.
//
// Upstream counterpart: pkg/controller/nodeipam with the RangeAllocator.
//
// What flows in: Nodes. What flows out: spec.podCIDR and spec.podCIDRs, set once and
// never changed: the addresses of the node's Pods come from there.
package nodeipam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
)

// Options say what the ranges are cut from.
type Options struct {
	ClusterCIDR          string
	MaskSize, MaskSizeV6 int
}

// Validate reports whether ranges can be cut so.
func (o Options) Validate() error {
	_, err := parsePools(o.ClusterCIDR, o.MaskSize, o.MaskSizeV6)
	return err
}

// Controller is the loop. Its names are those of nodes.
type Controller struct {
	*loop.Loop[loop.Name]

	client kubernetes.Interface
	nodes  corelisters.NodeLister
	events record.EventRecorder

	mu    sync.Mutex
	pools []*pool
}

// New makes the loop and says what wakes it.
func New(env loop.Env, o Options) (*Controller, error) {
	pools, err := parsePools(o.ClusterCIDR, o.MaskSize, o.MaskSizeV6)
	if err != nil {
		return nil, err
	}
	nodes := env.Informers.Core().V1().Nodes()
	c := &Controller{
		client: env.Client, nodes: nodes.Lister(), pools: pools,
		events: env.Recorder("cidrAllocator"),
	}
	env.Workers = 1 // nodes get their ranges in the order they came
	c.Loop = loop.New("nodeipam", env, c.sync)
	loop.Watch(c.Loop, nodes.Informer(), c.nodeChanged)
	return c, nil
}

// nodeChanged notes the ranges that nodes have before any is handed out: all existing
// nodes pass here before the first sync.
func (c *Controller) nodeChanged(old, cur *corev1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cur == nil {
		for _, p := range c.pools {
			p.release(old.Name)
		}
		return
	}
	if len(cur.Spec.PodCIDRs) == 0 {
		c.Add(loop.NameOf(cur))
		return
	}
	if old != nil && len(old.Spec.PodCIDRs) > 0 {
		return
	}
	if err := c.occupy(cur); err != nil {
		c.Log().Error("range of a node", "err", err)
	}
}

func (c *Controller) occupy(node *corev1.Node) error {
	var errs []error
	for i, text := range node.Spec.PodCIDRs {
		r, err := netip.ParsePrefix(text)
		if err == nil && i < len(c.pools) {
			err = c.pools[i].occupy(node.Name, r)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// sync gives one node its ranges, one of each family.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	node, err := c.nodes.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || len(node.Spec.PodCIDRs) > 0 {
		return err
	}
	ranges, err := c.allocate(node.Name)
	if err != nil {
		c.events.Eventf(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		return fmt.Errorf("allocate a Pod range for node %s: %w", node.Name, err)
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": ranges[0], "podCIDRs": ranges},
	})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	// The write may have arrived although its answer did not, so the ranges stay taken
	// by this node: the next try offers the same ones.
	c.events.Eventf(node, corev1.EventTypeNormal, "CIDRAssignmentFailed", "Node %s status is now: CIDRAssignmentFailed", node.Name)
	return fmt.Errorf("set the Pod range of node %s: %w", node.Name, err)
}

// allocate returns the ranges of the node: those it was offered before, or new ones.
func (c *Controller) allocate(node string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ranges []string
	for _, p := range c.pools {
		r, ok := p.of(node)
		if !ok {
			var err error
			if r, err = p.allocate(node); err != nil {
				return nil, err
			}
		}
		ranges = append(ranges, r.String())
	}
	return ranges, nil
}

// of finds the range that the node has.
func (p *pool) of(node string) (netip.Prefix, bool) {
	for r, owner := range p.owner {
		if owner == node {
			return r, true
		}
	}
	return netip.Prefix{}, false
}
