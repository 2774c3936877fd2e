package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orrery.example.org/api"
	"orrery.example.org/controller/podstate"
)

// patience is for how long an evicted Pod may show no sign of its deletion, and a Pod
// that says it goes may stay. The clocks of API server and controller should agree
// better than that.
const patience = 2 * time.Minute

// owner is what a Pod's number of siblings comes from.
type owner struct {
	uid      types.UID
	replicas int32
}

// scaler finds the owner of a Pod; nil for a Pod that is nobody's.
type scaler func(*corev1.Pod) (*owner, error)

// expectation is how many Pods there should be, and how many of them healthy.
type expectation struct {
	pods, healthy int32
	unmanaged     bool // some Pods are nobody's, so the numbers mean little
}

// expected works out what the budget asks for. A percentage, and maxUnavailable, are
// parts of what the Pods' owners want, not of what there is: otherwise a budget would
// shrink with what it protects.
func expected(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, scale scaler) (expectation, error) {
	least, most := b.Spec.MinAvailable, b.Spec.MaxUnavailable
	switch {
	case most == nil && least == nil:
		return expectation{}, nil
	case most == nil && least.Type == intstr.Int:
		return expectation{pods: int32(len(pods)), healthy: least.IntVal}, nil
	}
	e, err := wanted(pods, scale)
	if err != nil {
		return e, err
	}
	bound := least
	if most != nil {
		bound = most
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(bound, int(e.pods), true)
	if err != nil {
		return e, err
	}
	e.healthy = int32(n)
	if most != nil {
		e.healthy = max(0, e.pods-int32(n))
	}
	return e, nil
}

// wanted adds up what the owners of the Pods want, each once.
func wanted(pods []*corev1.Pod, scale scaler) (expectation, error) {
	var e expectation
	seen := map[types.UID]bool{}
	for _, pod := range pods {
		o, err := scale(pod)
		if err != nil {
			return e, err
		}
		if o == nil {
			e.unmanaged = true
			continue
		}
		if !seen[o.uid] {
			seen[o.uid] = true
			e.pods += o.replicas
		}
	}
	return e, nil
}

// counted is the budget with the status that these Pods give it.
func counted(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, e expectation, now time.Time) *policyv1.PodDisruptionBudget {
	b = b.DeepCopy()
	leaving, _, _ := pending(b, pods, now)
	var healthy int32
	for _, pod := range pods {
		if _, evicted := leaving[pod.Name]; !evicted && pod.DeletionTimestamp == nil && podstate.IsReady(pod) {
			healthy++
		}
	}
	b.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: b.Generation,
		DisruptedPods:      leaving,
		CurrentHealthy:     healthy,
		DesiredHealthy:     e.healthy,
		ExpectedPods:       e.pods,
		DisruptionsAllowed: max(0, healthy-e.healthy),
		Conditions:         b.Status.Conditions,
	}
	if e.pods <= 0 { // the first Pods may be there before they are counted
		b.Status.DisruptionsAllowed = 0
	}
	api.SetDisruptionAllowed(b)
	return b
}

// pending sorts the Pods that evictions have noted: those whose deletion is still to be
// seen, and those that were to go and never did. again is when to look next, 0: needn't.
func pending(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, now time.Time) (leaving map[string]metav1.Time, stayed []*corev1.Pod, again time.Duration) {
	leaving = map[string]metav1.Time{}
	for _, pod := range pods {
		since, noted := b.Status.DisruptedPods[pod.Name]
		if !noted || pod.DeletionTimestamp != nil {
			continue
		}
		left := since.Add(patience).Sub(now)
		if left <= 0 {
			stayed = append(stayed, pod)
			continue
		}
		leaving[pod.Name] = since
		if again == 0 || left < again {
			again = left
		}
	}
	return leaving, stayed, again
}

// failed is the budget when it could not be counted: it grants nothing.
func failed(b *policyv1.PodDisruptionBudget, err error) *policyv1.PodDisruptionBudget {
	b = b.DeepCopy()
	b.Status.DisruptionsAllowed = 0
	api.SetDisruptionsUnknown(b, err)
	return b
}

// stale says whether a Pod tells that it goes, and yet doesn't; or if it is too early to
// say, how long to wait.
func stale(pod *corev1.Pod, now time.Time) (is bool, in time.Duration) {
	c := podstate.Condition(pod, corev1.DisruptionTarget)
	if pod.DeletionTimestamp != nil || c == nil || c.Status != corev1.ConditionTrue ||
		c.Reason == corev1.PodReasonTerminationByKubelet || podstate.IsTerminal(pod) {
		return false, 0
	}
	in = c.LastTransitionTime.Add(patience).Sub(now)
	return in <= 0, max(0, in)
}

// staying is the Pod's status without that.
func staying(pod *corev1.Pod, now time.Time) *corev1.Pod {
	pod = pod.DeepCopy()
	*podstate.Condition(pod, corev1.DisruptionTarget) = corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse,
		ObservedGeneration: pod.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	return pod
}

// errNoOwner is upstream's message.
func errNoOwner(pod *corev1.Pod) error {
	return fmt.Errorf("found no controllers for pod %q", pod.Name)
}
