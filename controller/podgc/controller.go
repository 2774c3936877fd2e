// Package podgc removes Pods that nobody else will: those whose node was deleted, so
// that no agent is left to confirm their end, and the oldest of those that ended when
// there are too many.
//
// Upstream counterpart: pkg/controller/podgc.
//
// What flows in: Pods, Nodes. What flows out: deletions.
//
// Kubernetes: upstream looks at all Pods every 20 s. Here a node's deletion starts the
// clock of its Pods. Left out: Pods of nodes tainted out-of-service.
package podgc

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// Quarantine is how long a node must be gone before its Pods are: it may be
// registering anew.
const Quarantine = 40 * time.Second

// Controller is the loop. Its names are those of Pods, and one without a name stands
// for all that ended.
type Controller struct {
	*loop.Loop[loop.Name]

	client     kubernetes.Interface
	pods       corelisters.PodLister
	podIndex   cache.Indexer
	nodes      corelisters.NodeLister
	quarantine time.Duration
}

// New makes the loop and says what wakes it.
func New(env loop.Env, quarantine time.Duration) (*Controller, error) {
	core := env.Informers.Core().V1()
	if err := loop.AddIndex(core.Pods().Informer(), podstate.NodeIndex, podstate.ByNode); err != nil {
		return nil, err
	}
	c := &Controller{
		client: env.Client, quarantine: quarantine,
		pods: core.Pods().Lister(), podIndex: core.Pods().Informer().GetIndexer(), nodes: core.Nodes().Lister(),
	}
	c.Loop = loop.New("podgc", env, c.sync)
	loop.Watch(c.Loop, core.Nodes().Informer(), c.nodeChanged)
	loop.Watch(c.Loop, core.Pods().Informer(), c.podChanged)
	return c, nil
}

func (c *Controller) nodeChanged(old, cur *corev1.Node) {
	if cur != nil {
		return
	}
	pods, err := loop.ByIndex[*corev1.Pod](c.podIndex, podstate.NodeIndex, old.Name)
	if err != nil {
		c.Log().Error("find the Pods of a node", "err", err)
	}
	for _, pod := range pods {
		c.AddAfter(loop.NameOf(pod), c.quarantine)
	}
}

// podChanged matters when a Pod gets its node and when it ends. At the start it may
// come before the Pod's node does; the quarantine covers that.
func (c *Controller) podChanged(old, cur *corev1.Pod) {
	if cur == nil {
		return
	}
	if (old == nil || old.Spec.NodeName == "") && orphaned(cur, c.nodeExists) {
		c.AddAfter(loop.NameOf(cur), c.quarantine)
	}
	if podstate.IsTerminal(cur) && (old == nil || !podstate.IsTerminal(old)) {
		c.Add(loop.Name{})
	}
}

func (c *Controller) nodeExists(name string) bool {
	_, err := c.nodes.Get(name)
	return !apierrors.IsNotFound(err)
}

// sync removes one Pod if it should be.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	if name == (loop.Name{}) {
		return c.removeExcess(ctx)
	}
	pod, err := c.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !orphaned(pod, c.nodeExists) {
		return err
	}
	// The cache may be behind. Nothing brings the Pod back, so ask the API server.
	if _, err := c.client.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	return c.remove(ctx, pod, "DeletionByPodGC", "PodGC: node no longer exists")
}

func (c *Controller) removeExcess(ctx context.Context) error {
	all, err := c.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, pod := range excess(all, threshold) {
		if err := c.remove(ctx, pod, "", ""); err != nil {
			return err
		}
	}
	return nil
}

// remove marks the Pod as failed, which is true now, and deletes it without grace:
// there is no agent to wait for.
func (c *Controller) remove(ctx context.Context, pod *corev1.Pod, reason, message string) error {
	client := c.client.CoreV1().Pods(pod.Namespace)
	if reason != "" && !podstate.IsTerminal(pod) {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": pod.UID},
			"status": map[string]any{
				"phase": corev1.PodFailed,
				"conditions": []corev1.PodCondition{{
					Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
					Reason: reason, Message: message, LastTransitionTime: metav1.Now(),
				}},
			},
		})
		if err != nil {
			return err
		}
		if _, err := client.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("mark Pod %s/%s failed: %w", pod.Namespace, pod.Name, err)
		}
	}
	err := client.Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64),
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	c.Log().Info("deleted pod", "pod", loop.NameOf(pod), "why", message)
	return nil
}
