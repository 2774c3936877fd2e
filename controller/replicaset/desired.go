package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"orrery.example.org/controller/podstate"
)

// burst is how many Pods one pass creates or deletes at most.
const burst = 500

// Plan is what makes a ReplicaSet's Pods as many as they should be.
type Plan struct {
	Create int
	Delete []*corev1.Pod
}

// Desired compares the number of active Pods with the wanted one. related counts, for
// each Pod to delete, the Pods of the same workload on its node.
func Desired(rs *appsv1.ReplicaSet, active []*corev1.Pod, related func(*corev1.Pod) int, now time.Time) Plan {
	diff := len(active) - int(*rs.Spec.Replicas)
	if diff <= 0 {
		return Plan{Create: min(-diff, burst)}
	}
	diff = min(diff, burst)
	if diff < len(active) { // else there is nothing to choose
		active = slices.Clone(active)
		rank := map[*corev1.Pod]int{}
		for _, pod := range active {
			rank[pod] = related(pod)
		}
		slices.SortFunc(active, func(a, b *corev1.Pod) int { return deletedFirst(a, b, rank[a], rank[b], now) })
	}
	return Plan{Delete: active[:diff]}
}

// deletedFirst orders Pods by how little is lost with them; the first go first.
func deletedFirst(a, b *corev1.Pod, rankA, rankB int, now time.Time) int {
	bool2int := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	if order := cmp.Or(
		// Without a node before those with one, and of phases the earlier first.
		cmp.Compare(bool2int(a.Spec.NodeName != ""), bool2int(b.Spec.NodeName != "")),
		cmp.Compare(phaseOrder[a.Status.Phase], phaseOrder[b.Status.Phase]),
		cmp.Compare(bool2int(podstate.IsReady(a)), bool2int(podstate.IsReady(b))),
		// The lower cost first, by what people say of it.
		cmp.Compare(deletionCost(a), deletionCost(b)),
		// From the node that has the most Pods of this workload.
		-cmp.Compare(rankA, rankB),
	); order != 0 {
		return order
	}
	if podstate.IsReady(a) && podstate.IsReady(b) {
		if order := youngerFirst(readySince(a), readySince(b), a, b, now); order != 0 {
			return order
		}
	}
	maxA, sumA := restarts(a)
	maxB, sumB := restarts(b)
	return cmp.Or(
		-cmp.Compare(maxA, maxB),
		-cmp.Compare(sumA, sumB),
		youngerFirst(a.CreationTimestamp, b.CreationTimestamp, a, b, now),
	)
}

var phaseOrder = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

// youngerFirst compares ages by order of magnitude only, and Pods of about the same
// age by UID, which is random: else it would always be the newest that goes, and with
// it the balance between nodes or zones.
func youngerFirst(tA, tB metav1.Time, a, b *corev1.Pod, now time.Time) int {
	if tA.Equal(&tB) {
		return 0
	}
	if tA.IsZero() || tB.IsZero() {
		return cmp.Compare(tB.Unix(), tA.Unix())
	}
	magnitude := func(t metav1.Time) int64 {
		if d := now.Sub(t.Time); d > 0 {
			return int64(math.Log2(float64(d)))
		}
		return -1
	}
	return cmp.Or(cmp.Compare(magnitude(tA), magnitude(tB)), cmp.Compare(a.UID, b.UID))
}

func readySince(pod *corev1.Pod) metav1.Time {
	return podstate.Condition(pod, corev1.PodReady).LastTransitionTime
}

// restarts is the highest and the sum of the containers' restart counts.
func restarts(pod *corev1.Pod) (highest, sum int32) {
	for _, c := range pod.Status.ContainerStatuses {
		highest, sum = max(highest, c.RestartCount), sum+c.RestartCount
	}
	return highest, sum
}

func deletionCost(pod *corev1.Pod) int32 {
	n, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// Status is what the Pods amount to. failure is what the pass just made ran into, or
// nil. again is when a ready Pod becomes an available one, or zero.
func Status(rs *appsv1.ReplicaSet, active, terminating []*corev1.Pod, failure error, plan Plan, now time.Time) (status appsv1.ReplicaSetStatus, again time.Duration) {
	status = *rs.Status.DeepCopy()
	status.Replicas = int32(len(active))
	status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0
	ending := int32(len(terminating))
	status.TerminatingReplicas = &ending
	status.ObservedGeneration = rs.Generation

	template := labels.SelectorFromValidatedSet(rs.Spec.Template.Labels)
	for _, pod := range active {
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		if !podstate.IsReady(pod) {
			continue
		}
		status.ReadyReplicas++
		available, in := podstate.IsAvailable(pod, rs.Spec.MinReadySeconds, now)
		if available {
			status.AvailableReplicas++
		} else if in > 0 && (again == 0 || in < again) {
			again = in
		}
	}
	setFailure(&status, failure, plan, now)
	return status, again
}

// setFailure keeps the one condition a ReplicaSet has.
func setFailure(status *appsv1.ReplicaSetStatus, failure error, plan Plan, now time.Time) {
	isFailure := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	if failure == nil {
		status.Conditions = slices.DeleteFunc(status.Conditions, isFailure)
		return
	}
	if slices.ContainsFunc(status.Conditions, isFailure) {
		return // the first failure stays until it is over
	}
	reason := "FailedCreate"
	if len(plan.Delete) > 0 {
		reason = "FailedDelete"
	}
	status.Conditions = append(status.Conditions, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: failure.Error(),
	})
}

// newPod is a Pod from the ReplicaSet's template.
func newPod(rs *appsv1.ReplicaSet) *corev1.Pod {
	template := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    rs.Name + "-",
			Namespace:       rs.Namespace,
			Labels:          template.Labels,
			Annotations:     template.Annotations,
			Finalizers:      template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, Kind)},
		},
		Spec: template.Spec,
	}
}
