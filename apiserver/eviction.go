package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/admission"
	"orrery.example.org/apiserver/store"
)

// An eviction is a polite deletion of a Pod: it is refused where a PodDisruptionBudget
// has nothing left. That kubectl drain can wait, and many drains at once take no more
// than they may, is this file's doing: an eviction takes its share of the budget by
// compare-and-swap before it deletes, and the disruption controller, which alone can
// count Pods, gives shares back.

var (
	evictionVersion = &api.Version{
		GroupVersionKind: policyv1.SchemeGroupVersion.WithKind("Eviction"),
		New:              func() api.Object { return &policyv1.Eviction{} },
	}
	oldEvictionVersion = &api.Version{
		GroupVersionKind: policyv1beta1.SchemeGroupVersion.WithKind("Eviction"),
		New:              func() api.Object { return &policyv1beta1.Eviction{} },
	}
)

// decodeEviction reads the body, in either version.
func (c *call) decodeEviction(validation string) (*policyv1.Eviction, error) {
	m, err := bodyMedia(c.r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(c.r)
	if err != nil {
		return nil, err
	}
	v := evictionVersion
	if _, _, err := decoder(m, oldEvictionVersion, false).Decode(body, &v.GroupVersionKind, nil); err == nil {
		v = oldEvictionVersion
	}
	o, err := c.decode(body, m, v, validation)
	if old, ok := o.(*policyv1beta1.Eviction); ok && err == nil {
		return &policyv1.Eviction{ObjectMeta: old.ObjectMeta, DeleteOptions: old.DeleteOptions}, nil
	} else if err != nil {
		return nil, err
	}
	return o.(*policyv1.Eviction), nil
}

// evict is the verb create of pods/NAME/eviction.
func (h *handlers) evict(c *call) error {
	o, err := c.createOptions()
	if err != nil {
		return err
	}
	eviction, err := c.decodeEviction(o.fieldValidation)
	if err != nil {
		return err
	}
	if err := adopt(eviction, c.namespace); err != nil {
		return err
	}
	options, err := evictionOptions(eviction, c.name, o.dryRun)
	if err != nil {
		return err
	}
	a := h.admission(c, admission.Create, eviction, nil, len(options.DryRun) > 0)
	if err := admission.Admit(c.ctx(), a); err != nil {
		return err
	}
	if err := admission.Validate(c.ctx(), a); err != nil {
		return err
	}
	if err := h.evictPod(c, options); err != nil {
		return err
	}
	return c.respondObject(http.StatusCreated, &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, statusGVK)
}

// evictionOptions are how the Pod shall be deleted.
func evictionOptions(e *policyv1.Eviction, name string, dryRun bool) (*metav1.DeleteOptions, error) {
	if e.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	o := &metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		o = e.DeleteOptions.DeepCopy()
	}
	if o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential {
		return nil, apierrors.NewInvalid(evictionVersion.GroupKind(), name, field.ErrorList{field.Invalid(
			field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential"), true,
			"can not be set for pod eviction, try after removing the option")})
	}
	switch all := []string{metav1.DryRunAll}; {
	case dryRun && len(o.DryRun) == 0:
		o.DryRun = all
	case dryRun && !slices.Equal(o.DryRun, all):
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", all, o.DryRun)
	}
	return o, nil
}

// maxEvictions is how often a Pod is looked at anew that changes all the time.
const maxEvictions = 20

// evictPod deletes the Pod if it may go. Whether it may was read from one version of it;
// unless it takes a share of a budget, exactly that version is deleted.
func (h *handlers) evictPod(c *call, options *metav1.DeleteOptions) error {
	for tries := 1; ; tries++ {
		v, err := c.objects.Get(c.ctx(), c.namespace, c.name, false)
		if err != nil {
			return err
		}
		pod := v.Object.(*corev1.Pod)
		free := !guarded(pod)
		pin := free && pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil
		var budget *policyv1.PodDisruptionBudget
		if !free {
			if budget, err = h.budget(c, pod); err != nil {
				return err
			}
		}
		switch {
		case budget == nil:
		case spares(budget, pod):
			pin = true
		default:
			if err := h.spend(c, budget, len(options.DryRun) > 0); err != nil {
				return err
			}
		}
		o := options
		if pin = pin && (o.Preconditions == nil || o.Preconditions.ResourceVersion == nil); pin {
			o = pinned(o, pod.ResourceVersion)
		}
		err = h.expel(c, o)
		switch {
		case !pin || !apierrors.IsConflict(err):
			return err
		case !free:
			return errBudgetBusy(budget)
		case tries == maxEvictions:
			return err
		}
	}
}

// guarded: only Pods that may be serving somebody are subject to budgets.
func guarded(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodPending &&
		p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// budget finds the one that covers the Pod, or nil.
func (h *handlers) budget(c *call, pod *corev1.Pod) (*policyv1.PodDisruptionBudget, error) {
	all, err := h.budgets().objects.List(c.ctx(), store.ListOptions{Namespace: pod.Namespace})
	if err != nil {
		return nil, err
	}
	var found *policyv1.PodDisruptionBudget
	for _, v := range all.Items {
		b := v.Object.(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if found != nil {
			return nil, errManyBudgets()
		}
		found = b
	}
	return found, nil
}

func (h *handlers) budgets() *resource {
	return h.resources[policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")]
}

// spend takes one share of the budget for the call's Pod.
func (h *handlers) spend(c *call, b *policyv1.PodDisruptionBudget, dryRun bool) error {
	v := statusView(h.budgets())
	_, err := h.succeed(c.ctx(), h.budgets(), v, b.Namespace, b.Name, dryRun, func(old api.Object) (api.Object, error) {
		next := old.(*policyv1.PodDisruptionBudget).DeepCopy()
		if err := takeShare(next, c.name, time.Now()); err != nil {
			return nil, err
		}
		return next, h.owners.Update(c.ctx(), v.fields, old, next, "kube-apiserver")
	})
	return err
}

// expel deletes the Pod, after a note in its status why.
func (h *handlers) expel(c *call, o *metav1.DeleteOptions) error {
	if len(o.DryRun) == 0 {
		v, err := h.succeed(c.ctx(), c.resource, statusView(c.resource), c.namespace, c.name, false, func(old api.Object) (api.Object, error) {
			if err := preconditions(c.kind, old, o.Preconditions); err != nil {
				return nil, err
			}
			next := old.(*corev1.Pod).DeepCopy()
			noteEviction(&next.Status)
			return next, nil
		})
		if err != nil {
			return err
		}
		if o.Preconditions != nil && o.Preconditions.ResourceVersion != nil {
			o = pinned(o, v.Object.GetResourceVersion()) // it was us who changed it
		}
	}
	_, _, err := h.end(c.ctx(), c.resource, c.namespace, c.name, o, func(api.Object) error { return nil })
	return err
}

// pinned are the options for no other version of the object.
func pinned(o *metav1.DeleteOptions, version string) *metav1.DeleteOptions {
	o = o.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	o.Preconditions.ResourceVersion = &version
	return o
}
