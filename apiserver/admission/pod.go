package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// newPod is the Pod that the request creates, nil if it does something else.
func newPod(a *Attributes) *corev1.Pod {
	if a.Operation != Create || a.Subresource != "" {
		return nil
	}
	pod, _ := a.Object.(*corev1.Pod)
	return pod
}

// serviceAccount names the account that a Pod runs as.
//
// Kubernetes: the plugin also mounts a token.
func serviceAccount(_ context.Context, a *Attributes) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	return nil
}

// systemPriority holds the two classes that exist in every cluster.
var systemPriority = map[string]int32{
	"system-cluster-critical": 2000000000,
	"system-node-critical":    2000001000,
}

// priority turns a Pod's priority class into a number.
//
// Kubernetes: knows the PriorityClasses that are stored.
func priority(_ context.Context, a *Attributes) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	class := pod.Spec.PriorityClassName
	value, known := systemPriority[class]
	if class != "" && !known {
		return forbidden(a, fmt.Errorf("no PriorityClass with name %v was found", class))
	}
	if p := pod.Spec.Priority; p != nil && *p != value {
		return forbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *p, value))
	}
	pod.Spec.Priority = &value
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = new(corev1.PreemptLowerPriority)
	}
	return nil
}

// unreachableTolerance is for how many seconds a Pod stays bound to a node that is gone.
const unreachableTolerance = 300

// defaultTolerationSeconds lets Pods stay on a failing node for a while.
func defaultTolerationSeconds(_ context.Context, a *Attributes) error {
	if pod := newPod(a); pod != nil {
		tolerate(pod, corev1.TaintNodeNotReady)
		tolerate(pod, corev1.TaintNodeUnreachable)
	}
	return nil
}

// tolerate adds the toleration unless the Pod says otherwise.
func tolerate(p *corev1.Pod, taint string) {
	for _, t := range p.Spec.Tolerations {
		if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return
		}
	}
	p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{
		Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(unreachableTolerance)),
	})
}
