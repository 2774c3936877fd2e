package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/ownership"
)

// claim lists the ReplicaSets that belong to the Deployment.
func (c *Controller) claim(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	candidates, err := ownership.Candidates[*appsv1.ReplicaSet](c.replicaSets, d)
	if err != nil {
		return nil, err
	}
	claimer := ownership.Claimer[*appsv1.ReplicaSet]{
		Owner: d, Kind: Kind, Selector: selector,
		Fresh: func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, rs *appsv1.ReplicaSet, patch []byte) error {
			_, err := c.client.AppsV1().ReplicaSets(rs.Namespace).Patch(ctx, rs.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}
	return claimer.Claim(ctx, candidates)
}

// markRevision keeps the annotations of the current ReplicaSet in line, if there is
// one: after a rollback it is an old one that takes the highest revision.
func (c *Controller) markRevision(ctx context.Context, d *appsv1.Deployment, r *revisions) error {
	if r.now == nil {
		return nil
	}
	rs := r.now.DeepCopy()
	changed := annotate(d, rs, r.next())
	if rs.Spec.MinReadySeconds != d.Spec.MinReadySeconds {
		rs.Spec.MinReadySeconds, changed = d.Spec.MinReadySeconds, true
	}
	if changed {
		var err error
		if rs, err = c.client.AppsV1().ReplicaSets(rs.Namespace).Update(ctx, rs, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("annotate ReplicaSet %s/%s: %w", d.Namespace, r.now.Name, err)
		}
		r.now = rs
	}
	if hasDeadline(d) && find(&d.Status, appsv1.DeploymentProgressing) == nil {
		set(&d.Status, condition{appsv1.DeploymentProgressing, corev1.ConditionTrue,
			foundReason, fmt.Sprintf("Found new replica set %q", rs.Name)}, time.Now())
	}
	return c.publishRevision(ctx, d, rs)
}

// publishRevision repeats the revision on the Deployment itself.
func (c *Controller) publishRevision(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	revision := rs.Annotations[revisionAnnotation]
	if d.Annotations[revisionAnnotation] == revision {
		return nil
	}
	next := d.DeepCopy()
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, revisionAnnotation, revision)
	updated, err := c.client.AppsV1().Deployments(d.Namespace).Update(ctx, next, metav1.UpdateOptions{}) // its role has no patch
	if err != nil {
		return fmt.Errorf("annotate Deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	d.Annotations, d.ResourceVersion = updated.Annotations, updated.ResourceVersion
	return nil
}

// ensureCurrent makes the ReplicaSet of the current template if there is none.
func (c *Controller) ensureCurrent(ctx context.Context, d *appsv1.Deployment, r *revisions) error {
	if r.now != nil {
		return nil
	}
	rs := newReplicaSet(d, *r)
	made, err := c.client.AppsV1().ReplicaSets(d.Namespace).Create(ctx, rs, metav1.CreateOptions{})
	switch {
	case err == nil:
		r.now = made
		if n := *made.Spec.Replicas; n > 0 {
			c.events.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", made.Name, n)
		}
		if hasDeadline(d) {
			set(&d.Status, condition{appsv1.DeploymentProgressing, corev1.ConditionTrue,
				createdReason, fmt.Sprintf("Created new replica set %q", made.Name)}, time.Now())
		}
		return c.publishRevision(ctx, d, made)
	case apierrors.IsAlreadyExists(err):
		return c.resolveCollision(ctx, d, rs)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), ctx.Err() != nil:
		return err
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err)
	c.events.Event(d, corev1.EventTypeWarning, createErrReason, message)
	if hasDeadline(d) {
		before := d.DeepCopy()
		set(&d.Status, condition{appsv1.DeploymentProgressing, corev1.ConditionFalse, createErrReason, message}, time.Now())
		err = errors.Join(err, c.writeStatus(ctx, before, d, d.Status))
	}
	return fmt.Errorf("create ReplicaSet %s/%s: %w", d.Namespace, rs.Name, err)
}

// resolveCollision finds out whose the name is. If it is our own ReplicaSet, the cache
// will show it shortly. If it is another's (or another template has the same hash),
// the collision count goes into the next hash.
func (c *Controller) resolveCollision(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	there, err := c.client.AppsV1().ReplicaSets(d.Namespace).Get(ctx, rs.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at ReplicaSet %s/%s: %w", d.Namespace, rs.Name, err)
	}
	if metav1.IsControlledBy(there, d) && sameTemplate(&there.Spec.Template, &d.Spec.Template) {
		return loop.ErrStale
	}
	next := d.DeepCopy()
	if next.Status.CollisionCount == nil {
		next.Status.CollisionCount = new(int32)
	}
	*next.Status.CollisionCount++
	if err := c.writeStatus(ctx, d, next, next.Status); err != nil {
		return err
	}
	c.Log().Info("name of new ReplicaSet is taken", "deployment", loop.NameOf(d), "replicaset", rs.Name, "collisions", *next.Status.CollisionCount)
	return loop.ErrStale // the write just made wakes us again
}

// scale resizes ReplicaSets and puts the results into r.
func (c *Controller) scale(ctx context.Context, d *appsv1.Deployment, r *revisions, steps []scaling) error {
	for _, s := range steps {
		next := s.rs.DeepCopy()
		*next.Spec.Replicas = s.to
		resized := *s.rs.Spec.Replicas != s.to
		if !annotateSize(d, next) && !resized {
			continue
		}
		written, err := c.client.AppsV1().ReplicaSets(next.Namespace).Update(ctx, next, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("scale ReplicaSet %s/%s: %w", next.Namespace, next.Name, err)
		}
		if resized {
			direction := "down"
			if s.to > *s.rs.Spec.Replicas {
				direction = "up"
			}
			c.events.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d",
				direction, next.Name, *s.rs.Spec.Replicas, s.to)
		}
		if s.rs == r.now {
			r.now = written
		} else if i := slices.Index(r.old, s.rs); i >= 0 {
			r.old[i] = written
		}
	}
	return nil
}

// cleanup deletes the old ReplicaSets that the history has no room for.
func (c *Controller) cleanup(ctx context.Context, d *appsv1.Deployment, r revisions) error {
	for _, rs := range history(d, r.old) {
		err := c.client.AppsV1().ReplicaSets(rs.Namespace).Delete(ctx, rs.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete old ReplicaSet %s/%s: %w", rs.Namespace, rs.Name, err)
		}
	}
	return nil
}

// writeStatus writes the status if it differs from the one before.
func (c *Controller) writeStatus(ctx context.Context, before, d *appsv1.Deployment, status appsv1.DeploymentStatus) error {
	if apiequality.Semantic.DeepEqual(before.Status, status) {
		return nil
	}
	next := d.DeepCopy()
	next.Status = status
	if _, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{}); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("update status of Deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	return nil
}
