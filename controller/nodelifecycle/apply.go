package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// markLost writes that nothing is known of the node any more.
func (c *Controller) markLost(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	if !lose(node, metav1.Now()) {
		return node, nil
	}
	c.Log().Info("node stopped reporting", "node", node.Name)
	written, err := c.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("mark node %s unknown: %w", node.Name, err)
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
