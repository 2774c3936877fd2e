// Package deployment turns each Deployment's template into ReplicaSets: one for the
// current template, which grows, and one for each earlier, which shrink.
//
// Upstream counterpart: pkg/controller/deployment.
//
// What flows in: Deployments, ReplicaSets, and Pods that end. What flows out:
// ReplicaSets and the Deployment's status. No Pod is touched here.
//
// Left out: the rollback field of extensions/v1beta1. kubectl rollout undo, history,
// pause, resume and restart all work by writing the template and reading revisions.
package deployment

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/ownership"
	"orrery.example.org/controller/podstate"
)

// Kind is what this loop is the controller of.
var Kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Controller is the loop. Its names are those of Deployments.
type Controller struct {
	*loop.Loop[loop.Name]

	client      kubernetes.Interface
	deployments appslisters.DeploymentLister
	replicaSets cache.Indexer // by owner
	pods        cache.Indexer // by owner
	events      record.EventRecorder
}

// New makes the loop and says what wakes it.
func New(env loop.Env) (*Controller, error) {
	deployments := env.Informers.Apps().V1().Deployments()
	replicaSets := env.Informers.Apps().V1().ReplicaSets().Informer()
	pods := env.Informers.Core().V1().Pods().Informer()
	for _, informer := range []cache.SharedIndexInformer{replicaSets, pods} {
		if err := loop.AddIndex(informer, ownership.Index, ownership.ByController); err != nil {
			return nil, err
		}
	}
	c := &Controller{
		client:      env.Client,
		deployments: deployments.Lister(),
		replicaSets: replicaSets.GetIndexer(),
		pods:        pods.GetIndexer(),
		events:      env.Recorder("deployment-controller"),
	}
	c.Loop = loop.New("deployment", env, c.sync)
	loop.Watch(c.Loop, deployments.Informer(), func(old, cur *appsv1.Deployment) {
		if cur == nil {
			cur = old
		}
		c.Add(loop.NameOf(cur))
	})
	loop.Watch(c.Loop, replicaSets, c.replicaSetChanged)
	loop.Watch(c.Loop, pods, c.podChanged)
	return c, nil
}

// replicaSetChanged wakes the owner, before and after the change, or whoever could
// adopt an orphan.
func (c *Controller) replicaSetChanged(old, cur *appsv1.ReplicaSet) {
	for _, rs := range []*appsv1.ReplicaSet{old, cur} {
		if rs == nil {
			continue
		}
		if d := c.owner(rs); d != nil {
			c.Add(loop.NameOf(d))
		}
	}
	if cur == nil || metav1.GetControllerOfNoCopy(cur) != nil {
		return
	}
	all, err := c.deployments.Deployments(cur.Namespace).List(labels.Everything())
	if err != nil {
		c.Log().Error("list Deployments", "err", err)
	}
	for _, d := range all {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(cur.Labels)) {
			c.Add(loop.NameOf(d))
		}
	}
}

// podChanged matters for Recreate only: when the last old Pod is gone, the new ones
// may come. Everything else about Pods shows in the ReplicaSets' status.
func (c *Controller) podChanged(old, cur *corev1.Pod) {
	if cur != nil && !podstate.IsTerminal(cur) {
		return
	}
	pod := cur
	if pod == nil {
		pod = old
	}
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		return
	}
	obj, ok, err := c.replicaSets.GetByKey(pod.Namespace + "/" + ref.Name)
	if err != nil || !ok {
		return
	}
	if d := c.owner(obj.(*appsv1.ReplicaSet)); d != nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.Add(loop.NameOf(d))
	}
}

// owner is the Deployment that controls the ReplicaSet, if it is one and still there.
func (c *Controller) owner(rs *appsv1.ReplicaSet) *appsv1.Deployment {
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil || ref.Kind != Kind.Kind {
		return nil
	}
	d, err := c.deployments.Deployments(rs.Namespace).Get(ref.Name)
	if err != nil || d.UID != ref.UID {
		return nil
	}
	return d
}

// sync takes one Deployment one step further.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	cached, err := c.deployments.Deployments(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	d := cached.DeepCopy()
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		c.events.Event(d, corev1.EventTypeWarning, "SelectingAll",
			"This deployment is selecting all pods. A non-empty selector is required.")
		d.Status.ObservedGeneration = d.Generation
		return c.writeStatus(ctx, cached, d, d.Status)
	}
	sets, err := c.claim(ctx, d, selector)
	if err != nil {
		return err
	}
	r := sortRevisions(d, sets)
	if d.DeletionTimestamp != nil {
		return c.writeStatus(ctx, cached, d, counts(d, r, time.Now()))
	}
	setPaused(d, time.Now())
	status, err := c.step(ctx, d, r)
	if err != nil {
		return err
	}
	if again := nextCheck(d, &status, time.Now()); again > 0 {
		c.AddAfter(name, again)
	}
	return c.writeStatus(ctx, cached, d, status)
}

// step carries out what the Deployment asks for at this moment.
func (c *Controller) step(ctx context.Context, d *appsv1.Deployment, r revisions) (appsv1.DeploymentStatus, error) {
	if err := c.markRevision(ctx, d, &r); err != nil {
		return d.Status, err
	}
	if d.Spec.Paused || resized(d, r) {
		err := c.scale(ctx, d, &r, resize(d, r))
		if err == nil && d.Spec.Paused {
			err = c.cleanup(ctx, d, r)
		}
		return counts(d, r, time.Now()), err
	}
	var err error
	if isRolling(d) {
		err = c.roll(ctx, d, &r)
	} else {
		err = c.recreate(ctx, d, &r)
	}
	if err == nil && complete(d, &d.Status) {
		err = c.cleanup(ctx, d, r)
	}
	return rolloutStatus(d, r, time.Now()), err
}

// roll replaces the Pods bit by bit.
func (c *Controller) roll(ctx context.Context, d *appsv1.Deployment, r *revisions) error {
	if err := c.ensureCurrent(ctx, d, r); err != nil {
		return err
	}
	return c.scale(ctx, d, r, rollingUpdate(d, *r))
}

// recreate replaces the Pods all at once: none of the new before the last of the old.
func (c *Controller) recreate(ctx context.Context, d *appsv1.Deployment, r *revisions) error {
	if down := allDown(r.old); len(down) > 0 {
		return c.scale(ctx, d, r, down)
	}
	if running, err := c.oldPodsRunning(*r); running || err != nil {
		return err
	}
	if err := c.ensureCurrent(ctx, d, r); err != nil {
		return err
	}
	return c.scale(ctx, d, r, []scaling{{r.now, *d.Spec.Replicas}})
}

func (c *Controller) oldPodsRunning(r revisions) (bool, error) {
	for _, rs := range r.old {
		if rs.Status.Replicas > 0 {
			return true, nil
		}
		pods, err := loop.ByIndex[*corev1.Pod](c.pods, ownership.Index, string(rs.UID))
		if err != nil {
			return false, err
		}
		for _, pod := range pods {
			if !podstate.IsTerminal(pod) {
				return true, nil
			}
		}
	}
	return false, nil
}
