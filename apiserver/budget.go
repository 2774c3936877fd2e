package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
)

// The arithmetic of evictions (eviction.go): what a budget spares, and what it grants.

// maxPending is how many evictions may wait for the disruption controller to see them.
const maxPending = 2000

// spares says whether a Pod may go without a share of its budget: one that isn't ready
// protects nobody.
func spares(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	if ready {
		return false
	}
	if policy := b.Spec.UnhealthyPodEvictionPolicy; policy != nil && *policy == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// takeShare notes in b that the Pod goes, or says why it must not.
func takeShare(b *policyv1.PodDisruptionBudget, pod string, now time.Time) error {
	s := &b.Status
	switch {
	case s.ObservedGeneration < b.Generation:
		return errBudgetBusy(b)
	case s.DisruptionsAllowed < 0:
		return errBudgetBroken(b, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > maxPending:
		return errBudgetBroken(b, "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
			"too many pending evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed == 0:
		return errBudgetSpent(b)
	}
	s.DisruptionsAllowed--
	if s.DisruptionsAllowed == 0 {
		api.SetDisruptionAllowed(b)
	}
	if s.DisruptedPods == nil {
		s.DisruptedPods = map[string]metav1.Time{}
	}
	s.DisruptedPods[pod] = metav1.NewTime(now)
	return nil
}

const wouldViolate = "Cannot evict pod as it would violate the pod's disruption budget."

func because(err *apierrors.StatusError, format string, args ...any) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes,
		metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf(format, args...)})
	return err
}

// errBudgetBusy: try again in ten seconds, when the controller has had a look.
func errBudgetBusy(b *policyv1.PodDisruptionBudget) error {
	return because(apierrors.NewTooManyRequests(wouldViolate, 10),
		"The disruption budget %s is still being processed by the server.", b.Name)
}

func errBudgetBroken(b *policyv1.PodDisruptionBudget, what, why string) error {
	return because(apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New(what)),
		"The disruption budget %s does not allow evicting pods currently: %s", b.Name, why)
}

func errBudgetSpent(b *policyv1.PodDisruptionBudget) error {
	err := apierrors.NewTooManyRequests(wouldViolate, 0)
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	said := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case said && c.Reason == policyv1.SyncFailedReason: // the counts mean nothing then
		return because(err, "The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return because(err, "The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case said:
		return because(err, "The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return because(err, "The disruption budget %s does not allow evicting pods currently", b.Name)
}

// errManyBudgets: whose share would it be?
func errManyBudgets() error {
	return failure(http.StatusInternalServerError, "", "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
}

// noteEviction says in the Pod's status why it goes.
func noteEviction(s *corev1.PodStatus) {
	note := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
	}
	i := slices.IndexFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == note.Type })
	switch {
	case i < 0:
		s.Conditions = append(s.Conditions, note)
	case s.Conditions[i].Status == note.Status:
		note.LastTransitionTime = s.Conditions[i].LastTransitionTime
		fallthrough
	default:
		s.Conditions[i] = note
	}
}
