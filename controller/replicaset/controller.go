// Package replicaset keeps as many Pods of one template as each ReplicaSet asks for.
//
// Upstream counterpart: pkg/controller/replicaset.
//
// What flows in: ReplicaSets, Pods. What flows out: Pods, made and deleted, and the
// ReplicaSet's status, which the deployment loop lives on.
package replicaset

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/ownership"
	"orrery.example.org/controller/podstate"
)

// Kind is what this loop is the controller of.
var Kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// Controller is the loop. Its names are those of ReplicaSets.
type Controller struct {
	*loop.Loop[loop.Name]

	client       kubernetes.Interface
	replicaSets  appslisters.ReplicaSetLister
	siblings     cache.Indexer // ReplicaSets by owner
	pods         cache.Indexer // Pods by owner
	expectations *loop.Expectations
	events       record.EventRecorder
}

// New makes the loop and says what wakes it.
func New(env loop.Env) (*Controller, error) {
	replicaSets := env.Informers.Apps().V1().ReplicaSets()
	pods := env.Informers.Core().V1().Pods().Informer()
	for _, informer := range []cache.SharedIndexInformer{pods, replicaSets.Informer()} {
		if err := loop.AddIndex(informer, ownership.Index, ownership.ByController); err != nil {
			return nil, err
		}
	}
	c := &Controller{
		client:       env.Client,
		replicaSets:  replicaSets.Lister(),
		siblings:     replicaSets.Informer().GetIndexer(),
		pods:         pods.GetIndexer(),
		expectations: loop.NewExpectations(),
		events:       env.Recorder("replicaset-controller"),
	}
	c.Loop = loop.New("replicaset", env, c.sync)
	loop.Watch(c.Loop, replicaSets.Informer(), func(old, cur *appsv1.ReplicaSet) {
		if cur == nil {
			c.expectations.Forget(loop.NameOf(old))
			cur = old
		}
		c.Add(loop.NameOf(cur))
	})
	loop.Watch(c.Loop, pods, c.podChanged)
	return c, nil
}

// podChanged wakes the Pod's owner, and settles what the owner expected.
func (c *Controller) podChanged(old, cur *corev1.Pod) {
	if old != nil {
		owner := c.owner(old)
		if owner != nil && (cur == nil || cur.DeletionTimestamp != nil) {
			c.expectations.Deleted(loop.NameOf(owner), old.UID)
		}
		if owner != nil && (cur == nil || !metav1.IsControlledBy(cur, owner)) {
			c.Add(loop.NameOf(owner))
		}
	}
	if cur == nil {
		return
	}
	owner := c.owner(cur)
	switch {
	case owner != nil:
		if old == nil {
			c.expectations.Created(loop.NameOf(owner), 1)
		}
		if cur.DeletionTimestamp != nil {
			c.expectations.Deleted(loop.NameOf(owner), cur.UID)
		}
		c.Add(loop.NameOf(owner))
	case metav1.GetControllerOfNoCopy(cur) == nil && cur.DeletionTimestamp == nil:
		c.wakeAdopters(cur)
	}
}

// owner is the ReplicaSet that controls the Pod, if it is one and still there.
func (c *Controller) owner(pod *corev1.Pod) *appsv1.ReplicaSet {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != Kind.Kind {
		return nil
	}
	rs, err := c.replicaSets.ReplicaSets(pod.Namespace).Get(ref.Name)
	if err != nil || rs.UID != ref.UID {
		return nil
	}
	return rs
}

// wakeAdopters wakes every ReplicaSet whose selector matches an orphan.
func (c *Controller) wakeAdopters(pod *corev1.Pod) {
	all, err := c.replicaSets.ReplicaSets(pod.Namespace).List(labels.Everything())
	if err != nil {
		c.Log().Error("list ReplicaSets", "err", err)
	}
	for _, rs := range all {
		selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			c.Add(loop.NameOf(rs))
		}
	}
}

// sync gives one ReplicaSet its Pods and its status.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	rs, err := c.replicaSets.ReplicaSets(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		c.expectations.Forget(name)
		return nil
	}
	if err != nil {
		return err
	}
	// Ask before reading the Pods: what is seen in between only makes the copy newer.
	caughtUp := c.expectations.Satisfied(name)
	mine, err := c.claim(ctx, rs)
	if err != nil {
		return err
	}
	var active, terminating []*corev1.Pod
	for _, pod := range mine {
		switch {
		case podstate.IsActive(pod):
			active = append(active, pod)
		case pod.DeletionTimestamp != nil && !podstate.IsTerminal(pod):
			terminating = append(terminating, pod)
		}
	}
	var plan Plan
	var failure error
	if caughtUp && rs.DeletionTimestamp == nil {
		plan = Desired(rs, active, c.related(rs), time.Now())
		failure = c.apply(ctx, rs, plan)
	}
	status, again := Status(rs, active, terminating, failure, plan, time.Now())
	if again > 0 {
		c.AddAfter(name, again)
	}
	return errors.Join(failure, c.writeStatus(ctx, rs, status))
}

// claim lists the Pods that belong to the ReplicaSet.
func (c *Controller) claim(ctx context.Context, rs *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		c.Log().Error("invalid selector", "replicaset", loop.NameOf(rs), "err", err)
		return nil, nil // retrying will not help
	}
	candidates, err := ownership.Candidates[*corev1.Pod](c.pods, rs)
	if err != nil {
		return nil, err
	}
	claimer := ownership.Claimer[*corev1.Pod]{
		Owner: rs, Kind: Kind, Selector: selector,
		Fresh: func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().ReplicaSets(rs.Namespace).Get(ctx, rs.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, pod *corev1.Pod, patch []byte) error {
			_, err := c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}
	return claimer.Claim(ctx, candidates)
}

// related counts the active Pods on a Pod's node that belong to the ReplicaSet or to
// one with the same owner: the other revisions of its Deployment.
func (c *Controller) related(rs *appsv1.ReplicaSet) func(*corev1.Pod) int {
	family := []*appsv1.ReplicaSet{rs}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		if all, err := loop.ByIndex[*appsv1.ReplicaSet](c.siblings, ownership.Index, string(ref.UID)); err == nil {
			family = all
		}
	}
	var perNode map[string]int
	return func(pod *corev1.Pod) int {
		if perNode == nil {
			perNode = map[string]int{}
			for _, member := range family {
				pods, _ := loop.ByIndex[*corev1.Pod](c.pods, ownership.Index, string(member.UID))
				for _, p := range pods {
					if podstate.IsActive(p) {
						perNode[p.Spec.NodeName]++
					}
				}
			}
		}
		return perNode[pod.Spec.NodeName]
	}
}
