package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of the Progressing condition. kubectl rollout status reads the last one.
const (
	createdReason   = "NewReplicaSetCreated"
	foundReason     = "FoundNewReplicaSet"
	createErrReason = "ReplicaSetCreateError"
	updatedReason   = "ReplicaSetUpdated"
	availableReason = "NewReplicaSetAvailable"
	pausedReason    = "DeploymentPaused"
	resumedReason   = "DeploymentResumed"
	timedOutReason  = "ProgressDeadlineExceeded"
)

// counts is the status as far as it follows from the ReplicaSets' own.
func counts(d *appsv1.Deployment, r revisions, now time.Time) appsv1.DeploymentStatus {
	status := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation,
		CollisionCount:     d.Status.CollisionCount,
		Conditions:         slices.Clone(d.Status.Conditions),
	}
	var ending int32
	for _, rs := range r.all() {
		status.Replicas += rs.Status.Replicas
		status.ReadyReplicas += rs.Status.ReadyReplicas
		status.AvailableReplicas += rs.Status.AvailableReplicas
		if rs.Status.TerminatingReplicas != nil {
			ending += *rs.Status.TerminatingReplicas
		}
	}
	status.TerminatingReplicas = &ending
	status.UnavailableReplicas = max(0, sizes(r.all())-status.AvailableReplicas)
	if r.now != nil {
		status.UpdatedReplicas = r.now.Status.Replicas
	}
	available := condition{appsv1.DeploymentAvailable, corev1.ConditionFalse,
		"MinimumReplicasUnavailable", "Deployment does not have minimum availability."}
	if status.AvailableReplicas >= *d.Spec.Replicas-maxUnavailable(d) {
		available = condition{appsv1.DeploymentAvailable, corev1.ConditionTrue,
			"MinimumReplicasAvailable", "Deployment has minimum availability."}
	}
	set(&status, available, now)
	return status
}

// rolloutStatus is the whole status during and after a rollout.
func rolloutStatus(d *appsv1.Deployment, r revisions, now time.Time) appsv1.DeploymentStatus {
	status := counts(d, r, now)
	progress := find(&d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) {
		remove(&status, appsv1.DeploymentProgressing)
	}
	settled := status.Replicas == status.UpdatedReplicas && progress != nil && progress.Reason == availableReason
	if hasDeadline(d) && !settled {
		subject := fmt.Sprintf("Deployment %q", d.Name)
		if r.now != nil {
			subject = fmt.Sprintf("ReplicaSet %q", r.now.Name)
		}
		switch {
		case complete(d, &status):
			set(&status, condition{appsv1.DeploymentProgressing, corev1.ConditionTrue,
				availableReason, subject + " has successfully progressed."}, now)
		case progressed(&d.Status, &status):
			// The update time is what the deadline counts from: it moves with every step.
			refresh(&status, condition{appsv1.DeploymentProgressing, corev1.ConditionTrue,
				updatedReason, subject + " is progressing."}, now)
		case timedOut(d, now):
			set(&status, condition{appsv1.DeploymentProgressing, corev1.ConditionFalse,
				timedOutReason, subject + " has timed out progressing."}, now)
		}
	}
	setReplicaFailure(&status, r)
	return status
}

// complete reports whether the rollout is done: all Pods are of the current template,
// all are available, and no old one is left.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := *d.Spec.Replicas
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

func progressed(old, s *appsv1.DeploymentStatus) bool {
	return s.UpdatedReplicas > old.UpdatedReplicas ||
		s.Replicas-s.UpdatedReplicas < old.Replicas-old.UpdatedReplicas ||
		s.ReadyReplicas > old.ReadyReplicas ||
		s.AvailableReplicas > old.AvailableReplicas
}

func timedOut(d *appsv1.Deployment, now time.Time) bool {
	progress := find(&d.Status, appsv1.DeploymentProgressing)
	switch {
	case progress == nil || progress.Reason == availableReason:
		return false
	case progress.Reason == timedOutReason:
		return true
	}
	return deadline(d, progress).Before(now)
}

func deadline(d *appsv1.Deployment, progress *appsv1.DeploymentCondition) time.Time {
	return progress.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
}

// nextCheck is when a rollout that makes no progress must be looked at again, or zero.
func nextCheck(d *appsv1.Deployment, status *appsv1.DeploymentStatus, now time.Time) time.Duration {
	progress := find(status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || progress == nil || progress.Reason == timedOutReason || d.Spec.Paused || complete(d, status) {
		return 0
	}
	// Times in the API are in whole seconds, so look a second later.
	return max(deadline(d, progress).Sub(now), 0) + time.Second
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

// setPaused notes that the clock of the deadline stands still, or runs again.
func setPaused(d *appsv1.Deployment, now time.Time) {
	progress := find(&d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || progress != nil && progress.Reason == timedOutReason {
		return
	}
	noted := progress != nil && progress.Reason == pausedReason
	if d.Spec.Paused && !noted {
		set(&d.Status, condition{appsv1.DeploymentProgressing, corev1.ConditionUnknown, pausedReason, "Deployment is paused"}, now)
	}
	if !d.Spec.Paused && noted {
		set(&d.Status, condition{appsv1.DeploymentProgressing, corev1.ConditionUnknown, resumedReason, "Deployment is resumed"}, now)
	}
}

// setReplicaFailure repeats the first ReplicaSet's trouble, the current one's before others'.
func setReplicaFailure(status *appsv1.DeploymentStatus, r revisions) {
	remove(status, appsv1.DeploymentReplicaFailure)
	sets := r.old
	if r.now != nil {
		sets = append([]*appsv1.ReplicaSet{r.now}, sets...)
	}
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				status.Conditions = append(status.Conditions, appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				})
				return
			}
		}
	}
}

// condition is a condition without its times.
type condition struct {
	kind            appsv1.DeploymentConditionType
	status          corev1.ConditionStatus
	reason, message string
}

// set puts a condition in place unless it says the same already.
func set(s *appsv1.DeploymentStatus, c condition, now time.Time) {
	if old := find(s, c.kind); old != nil && old.Status == c.status && old.Reason == c.reason {
		return
	}
	refresh(s, c, now)
}

// refresh puts a condition in place with a new update time.
func refresh(s *appsv1.DeploymentStatus, c condition, now time.Time) {
	next := appsv1.DeploymentCondition{
		Type: c.kind, Status: c.status, Reason: c.reason, Message: c.message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	if old := find(s, c.kind); old != nil && old.Status == c.status {
		next.LastTransitionTime = old.LastTransitionTime
	}
	remove(s, c.kind)
	s.Conditions = append(s.Conditions, next)
}

func find(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

func remove(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}
