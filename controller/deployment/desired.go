package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// scaling is a ReplicaSet and the size it should have.
type scaling struct {
	rs *appsv1.ReplicaSet
	to int32
}

// rollingUpdate is the next step of replacing old Pods by new ones: either the new
// ReplicaSet grows as far as maxSurge allows, or the old ones shrink as far as
// maxUnavailable allows. The status that follows from a step brings the next one.
func rollingUpdate(d *appsv1.Deployment, r revisions) []scaling {
	if to := newReplicas(d, r); to != *r.now.Spec.Replicas {
		return []scaling{{r.now, to}}
	}
	return scaleDownOld(d, r)
}

// newReplicas is how large the current ReplicaSet may be at this moment.
func newReplicas(d *appsv1.Deployment, r revisions) int32 {
	want, have := *d.Spec.Replicas, *r.now.Spec.Replicas
	if have >= want || !isRolling(d) {
		return want
	}
	room := want + maxSurge(d) - sizes(r.all())
	return have + min(max(room, 0), want-have)
}

// scaleDownOld takes from the old ReplicaSets first the Pods that are not available,
// which costs nothing, and then as many as maxUnavailable allows.
func scaleDownOld(d *appsv1.Deployment, r revisions) []scaling {
	if sizes(r.old) == 0 {
		return nil
	}
	atLeast := *d.Spec.Replicas - maxUnavailable(d)
	newUnavailable := *r.now.Spec.Replicas - r.now.Status.AvailableReplicas
	// What may go in all, should everything that goes have been available.
	room := sizes(r.all()) - atLeast - newUnavailable
	if room <= 0 {
		return nil
	}
	to := map[*appsv1.ReplicaSet]int32{}
	var left int32 // available Pods after the unavailable ones are gone
	for _, rs := range r.old {
		to[rs] = *rs.Spec.Replicas
		unhealthy := max(min(room, *rs.Spec.Replicas-rs.Status.AvailableReplicas), 0)
		to[rs] -= unhealthy
		room -= unhealthy
	}
	for _, rs := range r.all() {
		left += rs.Status.AvailableReplicas
	}
	spare := left - atLeast
	for _, rs := range r.old {
		n := max(min(spare, to[rs]), 0)
		to[rs] -= n
		spare -= n
	}
	var steps []scaling
	for _, rs := range r.old {
		if to[rs] != *rs.Spec.Replicas {
			steps = append(steps, scaling{rs, to[rs]})
		}
	}
	return steps
}

// allDown scales every ReplicaSet that still has a size to zero.
func allDown(sets []*appsv1.ReplicaSet) []scaling {
	var steps []scaling
	for _, rs := range active(sets) {
		steps = append(steps, scaling{rs, 0})
	}
	return steps
}

// resize is what a change of spec.replicas asks for when there is no rollout to
// advance: the only ReplicaSet with Pods follows; and in the middle of a rollout each
// one follows in proportion, so that a half finished rollout stays half finished.
func resize(d *appsv1.Deployment, r revisions) []scaling {
	if only := activeOrLatest(r); only != nil {
		return []scaling{{only, *d.Spec.Replicas}}
	}
	if saturated(d, r.now) {
		return allDown(r.old)
	}
	if !isRolling(d) {
		return nil
	}
	sets := active(r.all())
	var allowed int32
	if *d.Spec.Replicas > 0 {
		allowed = *d.Spec.Replicas + maxSurge(d)
	}
	return proportional(d, sets, allowed-sizes(sets))
}

// proportional spreads toAdd (which may be negative) over the ReplicaSets by their
// part of the whole. What rounding leaves over goes to the largest.
func proportional(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, toAdd int32) []scaling {
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		age := olderFirst(a, b)
		if toAdd > 0 {
			age = -age // when growing, of equals the newest first
		}
		return cmp.Or(-cmp.Compare(*a.Spec.Replicas, *b.Spec.Replicas), age)
	})
	steps := make([]scaling, 0, len(sets))
	var added int32
	for _, rs := range sets {
		part := proportion(d, rs, toAdd, added)
		added += part
		steps = append(steps, scaling{rs, *rs.Spec.Replicas + part})
	}
	if len(steps) > 0 && toAdd != 0 {
		steps[0].to = max(steps[0].to+toAdd-added, 0)
	}
	return steps
}

func proportion(d *appsv1.Deployment, rs *appsv1.ReplicaSet, toAdd, added int32) int32 {
	if *rs.Spec.Replicas == 0 || toAdd == added {
		return 0
	}
	part := -*rs.Spec.Replicas
	if *d.Spec.Replicas != 0 {
		before, ok := intAnnotation(rs, maxAnnotation)
		if !ok || before == 0 {
			before = d.Status.Replicas // not ours: guess that it was sized for what there is
		}
		if before == 0 {
			return 0
		}
		whole := float64(*d.Spec.Replicas + maxSurge(d))
		part = int32(math.Round(float64(*rs.Spec.Replicas)*whole/float64(before))) - *rs.Spec.Replicas
	}
	if toAdd > 0 {
		return min(part, toAdd-added)
	}
	return max(part, toAdd-added)
}

// activeOrLatest is the one ReplicaSet that a size can be given to without choosing:
// the only one with Pods, or, where none has any, the current or else the newest. nil
// in the middle of a rollout.
func activeOrLatest(r revisions) *appsv1.ReplicaSet {
	switch on := active(r.all()); {
	case len(on) == 1:
		return on[0]
	case len(on) > 1:
		return nil
	case r.now != nil:
		return r.now
	case len(r.old) > 0:
		return r.old[len(r.old)-1]
	}
	return nil
}

// saturated reports whether the ReplicaSet has all the Pods of the Deployment.
func saturated(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	if rs == nil {
		return false
	}
	want := *d.Spec.Replicas
	desired, ok := intAnnotation(rs, desiredAnnotation)
	return ok && desired == want && *rs.Spec.Replicas == want && rs.Status.AvailableReplicas == want
}

// resized reports whether spec.replicas changed since the ReplicaSets were scaled.
func resized(d *appsv1.Deployment, r revisions) bool {
	return slices.ContainsFunc(active(r.all()), func(rs *appsv1.ReplicaSet) bool {
		desired, ok := intAnnotation(rs, desiredAnnotation)
		return ok && desired != *d.Spec.Replicas
	})
}

// history lists the old ReplicaSets that revisionHistoryLimit no longer allows, by
// revision. One that still has Pods, or whose status is not up to date, stays.
func history(d *appsv1.Deployment, old []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	limit := d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return nil
	}
	old = slices.DeleteFunc(slices.Clone(old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	slices.SortStableFunc(old, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	old = old[:max(0, len(old)-int(*limit))]
	return slices.DeleteFunc(old, func(rs *appsv1.ReplicaSet) bool {
		return rs.Status.Replicas != 0 || *rs.Spec.Replicas != 0 || rs.Generation > rs.Status.ObservedGeneration
	})
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(rs *appsv1.ReplicaSet) bool { return *rs.Spec.Replicas == 0 })
}

func sizes(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += *rs.Spec.Replicas
	}
	return n
}

func isRolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType
}

// maxSurge is how many Pods there may be beyond the wanted number. Percentages round up.
func maxSurge(d *appsv1.Deployment) int32 {
	if !isRolling(d) || d.Spec.Strategy.RollingUpdate == nil {
		return 0
	}
	return scaled(d, d.Spec.Strategy.RollingUpdate.MaxSurge, true)
}

// maxUnavailable is how many of the wanted Pods may be missing. Percentages round
// down. It is at least one where nothing may surge, or nothing could ever move.
func maxUnavailable(d *appsv1.Deployment) int32 {
	if !isRolling(d) || d.Spec.Strategy.RollingUpdate == nil || *d.Spec.Replicas == 0 {
		return 0
	}
	n := scaled(d, d.Spec.Strategy.RollingUpdate.MaxUnavailable, false)
	if n == 0 && maxSurge(d) == 0 {
		n = 1
	}
	return min(n, *d.Spec.Replicas)
}

func scaled(d *appsv1.Deployment, v *intstr.IntOrString, roundUp bool) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(*d.Spec.Replicas), roundUp)
	if err != nil {
		return 0 // validation lets no such value pass
	}
	return int32(n)
}
