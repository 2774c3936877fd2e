package api

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

var pods = define(Kind{
	Versions:     []Version{version[corev1.Pod, corev1.PodList](corev1.SchemeGroupVersion, "Pod")},
	Resource:     "pods",
	Singular:     "pod",
	ShortNames:   []string{"po"},
	Categories:   []string{"all"},
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	StatusKeeps:  []string{"deletionTimestamp", "ownerReferences"},
	Subresources: []Subresource{
		{Name: "attach", GVK: corev1.SchemeGroupVersion.WithKind("PodAttachOptions"), Verbs: []string{"create", "get"}},
		{Name: "binding", GVK: corev1.SchemeGroupVersion.WithKind("Binding"), Verbs: []string{"create"}},
		{Name: "exec", GVK: corev1.SchemeGroupVersion.WithKind("PodExecOptions"), Verbs: []string{"create", "get"}},
		{Name: "ephemeralcontainers", Verbs: []string{"get", "patch", "update"}},
		{Name: "eviction", GVK: policyv1.SchemeGroupVersion.WithKind("Eviction"), Verbs: []string{"create"}},
		{Name: "log", Verbs: []string{"get"}},
		{Name: "portforward", GVK: corev1.SchemeGroupVersion.WithKind("PodPortForwardOptions"), Verbs: []string{"create", "get"}},
		proxySubresource("PodProxyOptions"),
	},
	Columns: []Column{
		nameColumn(),
		column("Ready", "The aggregate readiness state of this pod for accepting traffic.",
			func(p *corev1.Pod) string { return summarize(p).readyCell() }),
		column("Status", "The aggregate status of the containers in this pod.",
			func(p *corev1.Pod) string { return summarize(p).status }),
		column("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
			func(p *corev1.Pod) string { return summarize(p).restartsCell() }),
		ageColumn(),
		column("IP", doc(corev1.PodStatus{}, "podIP"), podIPCell).wide(),
		column("Node", doc(corev1.PodSpec{}, "nodeName"), func(p *corev1.Pod) string { return orNone(p.Spec.NodeName) }).wide(),
		column("Nominated Node", doc(corev1.PodStatus{}, "nominatedNodeName"),
			func(p *corev1.Pod) string { return orNone(p.Status.NominatedNodeName) }).wide(),
		column("Readiness Gates", doc(corev1.PodSpec{}, "readinessGates"), readinessGatesCell).wide(),
	},
}, Rules[corev1.Pod]{
	Spec:           func(p *corev1.Pod) any { return &p.Spec },
	Status:         func(p *corev1.Pod) any { return &p.Status },
	Default:        defaultPod,
	PrepareCreate:  preparePod,
	PrepareStatus:  preparePodStatus,
	Validate:       validatePod,
	ValidateUpdate: validatePodUpdate,
	ValidateStatus: validatePodStatus,
	Warnings:       podWarnings,
	Fields:         podFields,
	GracePeriod:    podGracePeriod,
	RowConditions:  podRowConditions,
})

func podFields(p *corev1.Pod) fields.Set {
	ip := ""
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             ip,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

// podGracePeriod: nobody has to be waited for if no node runs the Pod.
func podGracePeriod(p *corev1.Pod, asked *int64) int64 {
	if p.Spec.NodeName == "" || podFinished(p) {
		return 0
	}
	grace := asked
	if grace == nil {
		grace = p.Spec.TerminationGracePeriodSeconds
	}
	switch {
	case grace == nil:
		return 0
	case *grace < 0:
		return 1
	}
	return *grace
}

func podFinished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func podRowConditions(p *corev1.Pod) []metav1.TableRowCondition {
	c := metav1.TableRowCondition{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase)}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		c.Message = "The pod has completed successfully."
	case corev1.PodFailed:
		c.Message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{c}
}
