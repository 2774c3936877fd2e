package replicaset

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/loop"
)

// apply creates or deletes Pods.
func (c *Controller) apply(ctx context.Context, rs *appsv1.ReplicaSet, plan Plan) error {
	switch {
	case plan.Create > 0:
		return c.create(ctx, rs, plan.Create)
	case len(plan.Delete) > 0:
		return c.delete(ctx, rs, plan.Delete)
	}
	return nil
}

func (c *Controller) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) error {
	name := loop.NameOf(rs)
	c.expectations.Expect(name, n)
	made, err := loop.SlowStart(n, func() error {
		pod, err := c.client.CoreV1().Pods(rs.Namespace).Create(ctx, newPod(rs), metav1.CreateOptions{})
		if err != nil {
			if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) && ctx.Err() == nil {
				c.events.Eventf(rs, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
			}
			return err
		}
		c.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
		return nil
	})
	c.expectations.Created(name, n-made) // those will never be seen
	if err != nil {
		return fmt.Errorf("create pods of ReplicaSet %s: %w", name, err)
	}
	return nil
}

func (c *Controller) delete(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	name := loop.NameOf(rs)
	var uids []types.UID
	for _, pod := range pods {
		uids = append(uids, pod.UID)
	}
	c.expectations.Expect(name, 0, uids...)
	errs := loop.Parallel(len(pods), func(i int) error {
		pod := pods[i]
		err := c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if err == nil {
			c.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", pod.Name)
			return nil
		}
		c.expectations.Deleted(name, pod.UID) // its deletion will not be seen, or was seen before
		if apierrors.IsNotFound(err) {
			return nil
		}
		c.events.Eventf(rs, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return err
	})
	if len(errs) > 0 {
		return fmt.Errorf("delete pods of ReplicaSet %s: %w", name, errs[0])
	}
	return nil
}

// writeStatus writes the status if it differs.
func (c *Controller) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if apiequality.Semantic.DeepEqual(rs.Status, status) {
		return nil
	}
	next := rs.DeepCopy()
	next.Status = status
	if _, err := c.client.AppsV1().ReplicaSets(rs.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{}); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("update status of ReplicaSet %s/%s: %w", rs.Namespace, rs.Name, err)
	}
	return nil
}
