package apiserver

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
)

// keepServiceCIDR keeps the ServiceCIDR "kubernetes", which says what this server was
// configured with, and declares it Ready: nobody else has to, for Services to work.
//
// Upstream counterpart: pkg/controlplane/controller/defaultservicecidr.
func (h *handlers) keepServiceCIDR(ctx context.Context) error {
	resource := networkingv1.SchemeGroupVersion.WithResource("servicecidrs")
	res := h.resources[resource]
	if res == nil {
		return nil // a cluster without this kind
	}
	cidrs := h.alloc.CIDRs()
	object := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: kubernetesName}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
	err := h.keep(ctx, own{resource: resource, object: object, repair: func(have, _ api.Object) {
		spec := &have.(*networkingv1.ServiceCIDR).Spec
		if len(cidrs) == 2 && len(spec.CIDRs) == 1 && spec.CIDRs[0] == cidrs[0] { // the second family came later
			spec.CIDRs = cidrs
		}
	}})
	if err != nil {
		return err
	}
	_, err = h.succeed(ctx, res, statusView(res), "", kubernetesName, false, func(old api.Object) (api.Object, error) {
		next := old.DeepCopyObject().(*networkingv1.ServiceCIDR)
		known := meta.FindStatusCondition(next.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
		switch {
		case next.DeletionTimestamp != nil, known != nil && known.Status != metav1.ConditionUnknown:
		case !slices.Equal(next.Spec.CIDRs, cidrs):
			h.log.Warn("the default ServiceCIDR does not match the configuration", "servicecidr", next.Spec.CIDRs, "configured", cidrs)
		default:
			meta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{
				Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready",
			})
		}
		return next, nil
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // deleted or written to meanwhile: the next round sees to it
	}
	return err
}
