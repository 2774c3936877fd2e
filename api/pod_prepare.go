package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const unreachableTolerance = 300 // seconds a Pod stays bound to a node that is gone

// systemPriority holds the two classes that exist in every cluster.
var systemPriority = map[string]int32{
	"system-cluster-critical": 2000000000,
	"system-node-critical":    2000001000,
}

// preparePod does what upstream's Pod strategy and the admission plugins
// ServiceAccount, Priority and DefaultTolerationSeconds do to a new Pod.
//
// Kubernetes: ServiceAccount also mounts a token, and Priority knows PriorityClasses.
func preparePod(p *corev1.Pod) {
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(&p.Spec)}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		fill(&p.Spec.ServiceAccountName, "default")
		p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName
	}
	set(&p.Spec.Priority, systemPriority[p.Spec.PriorityClassName])
	set(&p.Spec.PreemptionPolicy, corev1.PreemptLowerPriority)
	tolerate(p, corev1.TaintNodeNotReady)
	tolerate(p, corev1.TaintNodeUnreachable)
}

// tolerate lets the Pod stay on a failing node for a while, unless it says otherwise.
func tolerate(p *corev1.Pod, taint string) {
	for _, t := range p.Spec.Tolerations {
		if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return
		}
	}
	seconds := int64(unreachableTolerance)
	p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{
		Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
	})
}

// qosClass is who is evicted first when a node runs out of memory: BestEffort asks
// for nothing, Guaranteed limits exactly what it asks for, Burstable is the rest.
func qosClass(spec *corev1.PodSpec) corev1.PodQOSClass {
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
