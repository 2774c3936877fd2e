// Package scheduler gives each new Pod a node.
//
// Upstream counterpart: kube-scheduler with its default profile.
//
// What flows in: Pods without a node, and everything that decides where they fit: the
// nodes and the Pods already there. What flows out: bindings, and for a Pod that fits
// nowhere its PodScheduled condition and an event that counts the reasons. Such a Pod
// is parked until a node changes, a Pod ends, or, if that matters to it, a Pod comes;
// nothing polls. The decision (desired.go) is a list of filters, then a sum of scores, each
// in a file of its own. If it fits nowhere but is more important than others, those that
// are in its way are deleted, and its place is kept.
//
// Left out: volumes, the scores of images and of balance, several profiles.
package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// Controller is the loop. Its names are those of Pods without a node.
//
// Kubernetes: upstream decides on one Pod after the other and binds in the background.
// Here the workers do both; the decisions are serialized by the state's lock.
type Controller struct {
	*loop.Loop[loop.Name]

	client kubernetes.Interface
	pods   corelisters.PodLister
	state  *state
	events record.EventRecorder
}

// New makes the loop and says what wakes it.
func New(env loop.Env) (*Controller, error) {
	core := env.Informers.Core().V1()
	c := &Controller{
		client: env.Client,
		pods:   core.Pods().Lister(),
		state: newState(cluster{
			namespaces: labelsOf(core.Namespaces().Lister()),
			budgets:    allOf(env.Informers.Policy().V1().PodDisruptionBudgets().Lister()),
		}),
		events: env.Recorder(corev1.DefaultSchedulerName),
	}
	c.Loop = loop.New("scheduler", env, c.sync)
	loop.Watch(c.Loop, core.Nodes().Informer(), func(old, cur *corev1.Node) {
		c.wake(c.state.sawNode(old, cur))
	})
	loop.Watch(c.Loop, core.Pods().Informer(), c.podChanged)
	loop.Watch(c.Loop, core.Namespaces().Informer(), func(old, cur *corev1.Namespace) {
		if old != nil && cur != nil && !maps.Equal(old.Labels, cur.Labels) {
			c.wake(c.state.sawNamespace())
		}
	})
	return c, nil
}

// labelsOf looks up the labels of namespaces.
func labelsOf(namespaces corelisters.NamespaceLister) func(string) labels.Set {
	return func(name string) labels.Set {
		namespace, err := namespaces.Get(name)
		if err != nil {
			return nil // it is gone, or not here yet
		}
		return namespace.Labels
	}
}

// allOf lists the budgets.
func allOf(budgets policylisters.PodDisruptionBudgetLister) func() []*policyv1.PodDisruptionBudget {
	return func() []*policyv1.PodDisruptionBudget {
		all, err := budgets.List(labels.Everything())
		if err != nil {
			return nil // a lister of a cache has no errors
		}
		return all
	}
}

func (c *Controller) podChanged(old, cur *corev1.Pod) {
	if cur == nil {
		c.wake(c.state.sawPod(old, true))
		return
	}
	c.wake(c.state.sawPod(cur, false))
	if waiting(cur) && (old == nil || changed(old, cur)) {
		c.Add(loop.NameOf(cur))
	}
}

func (c *Controller) wake(names []loop.Name) {
	for _, name := range names {
		c.Add(name)
	}
}

// waiting reports whether the Pod is this scheduler's business.
func waiting(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && podstate.IsActive(pod) &&
		pod.Spec.SchedulerName == corev1.DefaultSchedulerName && len(pod.Spec.SchedulingGates) == 0
}

// changed reports whether a Pod's change is more than the status that we write.
func changed(old, cur *corev1.Pod) bool {
	return old.Generation != cur.Generation ||
		len(old.Spec.SchedulingGates) != len(cur.Spec.SchedulingGates) ||
		len(old.Spec.Tolerations) != len(cur.Spec.Tolerations)
}

// sync places one Pod.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	pod, err := c.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !waiting(pod) {
		return err
	}
	d := c.state.schedule(pod)
	switch {
	case d.node != "":
		return c.bind(ctx, pod, d.node)
	case d.message != "":
		return errors.Join(c.makeRoom(ctx, pod, d.room), c.reject(ctx, pod, d))
	}
	return nil
}

// bind writes the decision. The binding subresource sets spec.nodeName, once.
func (c *Controller) bind(ctx context.Context, pod *corev1.Pod, node string) error {
	err := c.client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err == nil {
		c.events.Eventf(pod, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, node)
		return nil
	}
	c.wake(c.state.forget(pod))
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	return fmt.Errorf("bind Pod %s/%s to %s: %w", pod.Namespace, pod.Name, node, err)
}

// reject tells people why the Pod stays pending.
func (c *Controller) reject(ctx context.Context, pod *corev1.Pod, d decision) error {
	c.events.Event(pod, corev1.EventTypeWarning, "FailedScheduling", d.message)
	condition, changed := unschedulable(pod, d.message, metav1.Now())
	status := map[string]any{"conditions": []corev1.PodCondition{condition}}
	if d.room != nil {
		status["nominatedNodeName"] = d.room.node.node.Name
	} else if !changed {
		return nil
	}
	return c.patchStatus(ctx, pod, status)
}

// makeRoom has those go that a more important Pod needs the room of.
func (c *Controller) makeRoom(ctx context.Context, pod *corev1.Pod, room *preemption) error {
	if room == nil {
		return nil
	}
	var errs []error
	for _, victim := range room.victims {
		if victim.DeletionTimestamp != nil {
			continue // it goes anyway
		}
		errs = append(errs, c.patchStatus(ctx, victim, map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
			Reason: corev1.PodReasonPreemptionByScheduler, Message: corev1.DefaultSchedulerName + ": preempting to accommodate a higher priority pod",
		}}}))
		err := c.client.CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(victim.UID))})
		switch {
		case err == nil:
			c.events.Eventf(victim, corev1.EventTypeNormal, "Preempted", "Preempted by pod %v on node %v", pod.UID, room.node.node.Name)
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
			errs = append(errs, fmt.Errorf("preempt Pod %s/%s: %w", victim.Namespace, victim.Name, err))
		}
	}
	return errors.Join(errs...)
}

// patchStatus changes a Pod's status, if it is still that Pod.
func (c *Controller) patchStatus(ctx context.Context, pod *corev1.Pod, status map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("set status of Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
