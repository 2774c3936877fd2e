package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// preparePod does what upstream's Pod strategy does to a new Pod.
func preparePod(p *corev1.Pod) {
	withLabelKeys(p)
	defaultPodResources(&p.Spec)
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: QOSClass(&p.Spec)}
	if grace := p.Spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

// QOSClass is who is evicted first when a node runs out of memory: BestEffort asks
// for nothing, Guaranteed limits exactly what it asks for, Burstable is the rest.
func QOSClass(spec *corev1.PodSpec) corev1.PodQOSClass {
	var all []corev1.ResourceRequirements
	if spec.Resources != nil {
		all = append(all, *spec.Resources)
	} else {
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for i := range list {
				all = append(all, list[i].Resources)
			}
		}
	}
	asks, guaranteed := false, len(all) > 0
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			asks = asks || positive(request) || positive(limit)
			guaranteed = guaranteed && positive(limit) && request.Cmp(limit) == 0
		}
	}
	switch {
	case !asks:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func positive(q resource.Quantity) bool { return q.Sign() > 0 }

// preparePodStatus: the class was decided at creation, and an agent's stale view of
// the owners must not undo what the garbage collector relies on.
func preparePodStatus(p, old *corev1.Pod) {
	p.OwnerReferences = old.OwnerReferences
	fill(&p.Status.QOSClass, old.Status.QOSClass)
}
