package api

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateNode(n *corev1.Node) field.ErrorList {
	at := field.NewPath("spec")
	errs := validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints")) // where they once were
	errs = append(errs, validatePodCIDRs(n.Spec.PodCIDRs, at.Child("podCIDRs"))...)
	return append(errs, validateNodeResources(&n.Status)...)
}

// shownTaint has the names that upstream shows.
type shownTaint struct {
	Key, Value string
	Effect     corev1.TaintEffect
	TimeAdded  *metav1.Time
}

// taint is what makes a taint unique.
type taint struct {
	key    string
	effect corev1.TaintEffect
}

func validateTaints(taints []corev1.Taint, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[taint]()
	for i, t := range taints {
		at := at.Index(i)
		errs = append(errs, invalid(at.Child("key"), t.Key, validation.IsQualifiedName(t.Key))...)
		errs = append(errs, invalid(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
		errs = append(errs, oneOf(t.Effect, at.Child("effect"), corev1.TaintEffectNoSchedule,
			corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		if key := (taint{t.Key, t.Effect}); seen.Has(key) {
			dup := field.Duplicate(at, shownTaint(t))
			dup.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, dup)
		} else {
			seen.Insert(key)
		}
	}
	return errs
}

func validatePodCIDRs(cidrs []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	families := map[bool]int{}
	for i, c := range cidrs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(at.Index(i), c, true, nil)...)
		if p, err := netip.ParsePrefix(c); err == nil {
			families[p.Addr().Is4()]++
		}
	}
	if len(cidrs) > 2 || len(cidrs) == 2 && len(families) != 2 {
		errs = append(errs, field.Invalid(at, cidrs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func validateNodeResources(s *corev1.NodeStatus) field.ErrorList {
	var errs field.ErrorList
	for name, q := range ordered(s.Capacity) {
		errs = append(errs, validateQuantity(q, field.NewPath("status", "capacity").Key(string(name)))...)
	}
	for name, q := range ordered(s.Allocatable) {
		errs = append(errs, validateQuantity(q, field.NewPath("status", "allocatable").Key(string(name)))...)
	}
	return errs
}

// validateNodeUpdate: identity is given to a node once; labels, taints and the
// unschedulable mark may change at any time.
func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	errs := validateNode(n)
	at := field.NewPath("spec")
	if len(old.Spec.PodCIDRs) > 0 && !equality.Semantic.DeepEqual(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(at.Child("podCIDRs"), `node updates may not change podCIDR except from "" to valid`))
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(at.Child("providerID"), `node updates may not change providerID except from "" to valid`))
	}
	return errs
}

func validateNodeStatus(n, _ *corev1.Node) field.ErrorList {
	errs := validateNodeResources(&n.Status)
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		errs = append(errs, unique(a, seen, field.NewPath("status", "addresses").Index(i))...)
	}
	return errs
}
