package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var priorityClasses = define(Kind{
	Versions:     []Version{version[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](schedulingv1.SchemeGroupVersion, "PriorityClass")},
	Resource:     "priorityclasses",
	Singular:     "priorityclass",
	ShortNames:   []string{"pc"},
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Value", doc(schedulingv1.PriorityClass{}, "value"),
			func(c *schedulingv1.PriorityClass) int64 { return int64(c.Value) }).integer(),
		column("Global-Default", doc(schedulingv1.PriorityClass{}, "globalDefault"),
			func(c *schedulingv1.PriorityClass) bool { return c.GlobalDefault }).boolean(),
		ageColumn(),
		column("PreemptionPolicy", doc(schedulingv1.PriorityClass{}, "preemptionPolicy"),
			func(c *schedulingv1.PriorityClass) string { return deref((*string)(c.PreemptionPolicy)) }),
	},
}, Rules[schedulingv1.PriorityClass]{
	Default:       func(c *schedulingv1.PriorityClass) { set(&c.PreemptionPolicy, corev1.PreemptLowerPriority) },
	PrepareCreate: func(c *schedulingv1.PriorityClass) { c.Generation = 1 },
	Validate:      validatePriorityClass,
	ValidateUpdate: func(c, old *schedulingv1.PriorityClass) field.ErrorList {
		var errs field.ErrorList
		if c.Value != old.Value {
			errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
		}
		return append(errs, immutable(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	},
})

// maxPriority is the highest a user may give; what is above belongs to the system.
const (
	maxPriority  = 1_000_000_000
	systemPrefix = "system-"
)

// SystemPriorityClasses are the two classes that every cluster has.
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	return []*schedulingv1.PriorityClass{{
		ObjectMeta:       metav1.ObjectMeta{Name: "system-node-critical"},
		PreemptionPolicy: new(corev1.PreemptLowerPriority),
		Value:            2*maxPriority + 1000,
		Description:      "Used for system critical pods that must not be moved from their current node.",
	}, {
		ObjectMeta:       metav1.ObjectMeta{Name: "system-cluster-critical"},
		PreemptionPolicy: new(corev1.PreemptLowerPriority),
		Value:            2 * maxPriority,
		Description:      "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
	}}
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(c.Name, systemPrefix) {
		if err := systemClass(c); err != nil {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+err.Error()))
		}
	} else if c.Value > maxPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"),
			fmt.Sprintf("maximum allowed value of a user defined priority is %v", maxPriority)))
	}
	return append(errs, oneOf(*c.PreemptionPolicy, field.NewPath("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
}

// systemClass says what makes c differ from the class of the system that it claims to be.
func systemClass(c *schedulingv1.PriorityClass) error {
	all := SystemPriorityClasses()
	i := slices.IndexFunc(all, func(s *schedulingv1.PriorityClass) bool { return s.Name == c.Name })
	switch {
	case i < 0:
		return fmt.Errorf("%v is not a known system priority class", c.Name)
	case c.Value != all[i].Value:
		return fmt.Errorf("value of %v PriorityClass must be %v", c.Name, all[i].Value)
	case c.GlobalDefault:
		return fmt.Errorf("globalDefault of %v PriorityClass must be %v", c.Name, false)
	}
	return nil
}
