package admission

import (
	"context"

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

// unreachableTolerance is for how many seconds a Pod stays bound to a node that is gone.
const unreachableTolerance = 300

// defaultTolerationSeconds lets Pods stay on a failing node for a while. An update that
// leaves the tolerations out gets them back.
func defaultTolerationSeconds(_ context.Context, a *Attributes) error {
	if pod, ok := a.Object.(*corev1.Pod); ok && a.Subresource == "" {
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
