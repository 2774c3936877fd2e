// Package disruption keeps the books of PodDisruptionBudgets: how many of the Pods that
// one covers are healthy, how many must stay so, and how many may be evicted right now.
//
// Upstream counterpart: pkg/controller/disruption.
//
// What flows in: PodDisruptionBudgets, Pods, ReplicaSets, Deployments, and the scale of
// whatever else owns Pods. What flows out: the budgets' status. Evictions are the API
// server's (apiserver/eviction.go): each takes one share from the status and notes the
// Pod there; this loop alone raises the number again. It also takes back a Pod's word
// that it goes, if nobody deletes it.
//
// Kubernetes: a Pod that several budgets cover has all of them counted anew, not one.
package disruption

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/resources"
)

// subject is a name in the queue: a budget to count, or a Pod that may have gone stale.
type subject struct {
	pod bool
	loop.Name
}

// Controller is the loop.
type Controller struct {
	*loop.Loop[subject]

	client      kubernetes.Interface
	catalog     *resources.Catalog
	recorder    record.EventRecorder
	budgets     policylisters.PodDisruptionBudgetLister
	pods        corelisters.PodLister
	replicaSets appslisters.ReplicaSetLister
	deployments appslisters.DeploymentLister
}

// New makes the loop and says what wakes it.
func New(env loop.Env, catalog *resources.Catalog) (*Controller, error) {
	core, apps, policy := env.Informers.Core().V1(), env.Informers.Apps().V1(), env.Informers.Policy().V1()
	c := &Controller{
		client: env.Client, catalog: catalog, recorder: env.Recorder("controllermanager"),
		budgets: policy.PodDisruptionBudgets().Lister(), pods: core.Pods().Lister(),
		replicaSets: apps.ReplicaSets().Lister(), deployments: apps.Deployments().Lister(),
	}
	c.Loop = loop.New("disruption", env, c.sync)
	loop.Watch(c.Loop, policy.PodDisruptionBudgets().Informer(), func(_, cur *policyv1.PodDisruptionBudget) {
		if cur != nil {
			c.Add(subject{Name: loop.NameOf(cur)})
		}
	})
	loop.Watch(c.Loop, core.Pods().Informer(), c.podChanged)
	// Owners wake nobody: what changes in them shows in their Pods. Only their caches
	// must be filled.
	loop.Watch(c.Loop, apps.ReplicaSets().Informer(), ignore[*appsv1.ReplicaSet])
	loop.Watch(c.Loop, apps.Deployments().Informer(), ignore[*appsv1.Deployment])
	return c, nil
}

func ignore[T metav1.Object](_, _ T) {}

func (c *Controller) podChanged(old, cur *corev1.Pod) {
	moved := old == nil || cur != nil && !maps.Equal(old.Labels, cur.Labels)
	for _, pod := range []*corev1.Pod{old, cur} {
		if pod == nil {
			continue
		}
		budgets, err := c.budgets.GetPodPodDisruptionBudgets(pod)
		if err != nil {
			continue // there are none
		}
		for _, b := range budgets {
			c.Add(subject{Name: loop.NameOf(b)})
		}
		if pod == cur && len(budgets) > 1 && moved {
			c.recorder.Eventf(pod, corev1.EventTypeWarning, "MultiplePodDisruptionBudgets",
				"Pod %q/%q matches multiple PodDisruptionBudgets.  Chose %q arbitrarily.", pod.Namespace, pod.Name, budgets[0].Name)
		}
	}
	if cur == nil {
		return
	}
	if is, in := stale(cur, time.Now()); is || in > 0 {
		c.AddAfter(subject{pod: true, Name: loop.NameOf(cur)}, in)
	}
}

func (c *Controller) sync(ctx context.Context, s subject) error {
	if s.pod {
		return c.syncPod(ctx, s.Name)
	}
	b, err := c.budgets.PodDisruptionBudgets(s.Namespace).Get(s.Name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	next, err := c.count(ctx, b)
	if err != nil {
		c.Log().Warn("cannot count the Pods of a budget", "budget", s.Name, "err", err)
		next = failed(b, err)
	}
	if equality.Semantic.DeepEqual(next.Status, b.Status) {
		return nil
	}
	// From a 409 we learn that an eviction came in between: its share must be counted.
	_, err = c.client.PolicyV1().PodDisruptionBudgets(b.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write the status of the budget: %w", err)
	}
	return nil
}

// count works out the budget's status, and tells people what is odd about it.
func (c *Controller) count(ctx context.Context, b *policyv1.PodDisruptionBudget) (*policyv1.PodDisruptionBudget, error) {
	pods, err := c.covered(b)
	if err != nil {
		c.recorder.Eventf(b, corev1.EventTypeWarning, "NoPods", "Failed to get pods: %v", err)
		return nil, err
	}
	if len(pods) == 0 {
		c.recorder.Event(b, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	e, err := expected(b, pods, func(pod *corev1.Pod) (*owner, error) { return c.ownerOf(ctx, pod) })
	if err != nil {
		c.recorder.Eventf(b, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
		return nil, err
	}
	if e.unmanaged {
		c.recorder.Eventf(b, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", b.Spec.Selector)
	}
	now := time.Now()
	_, stayed, again := pending(b, pods, now)
	for _, pod := range stayed {
		c.recorder.Eventf(pod, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", b.Namespace, b.Name)
	}
	if again > 0 {
		c.AddAfter(subject{Name: loop.NameOf(b)}, again)
	}
	return counted(b, pods, e, now), nil
}

// covered are the Pods that the budget selects.
func (c *Controller) covered(b *policyv1.PodDisruptionBudget) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return nil, err
	}
	return c.pods.Pods(b.Namespace).List(selector)
}

// syncPod takes back a Pod's word that it goes.
func (c *Controller) syncPod(ctx context.Context, name loop.Name) error {
	pod, err := c.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	is, in := stale(pod, time.Now())
	if in > 0 {
		c.AddAfter(subject{pod: true, Name: name}, in)
	}
	if !is {
		return nil
	}
	_, err = c.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, staying(pod, time.Now()), metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("clear the disruption of Pod %s: %w", name, err)
	}
	return nil
}
