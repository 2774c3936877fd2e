package api

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var leases = define(Kind{
	Versions:       []Version{version[coordinationv1.Lease, coordinationv1.LeaseList](coordinationv1.SchemeGroupVersion, "Lease")},
	Resource:       "leases",
	Singular:       "lease",
	Namespaced:     true,
	CreateOnUpdate: true,
	AnyFinalizer:   true,
	Conditional:    true, // whoever takes a lease must have seen that it was free
	ValidateName:   apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Holder", doc(coordinationv1.LeaseSpec{}, "holderIdentity"), func(l *coordinationv1.Lease) string { return deref(l.Spec.HolderIdentity) }),
		ageColumn(),
	},
}, Rules[coordinationv1.Lease]{
	Validate: validateLease,
})

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	spec, at := &l.Spec, field.NewPath("spec")
	if d := spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(at.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(at.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	if spec.Strategy != nil {
		errs = append(errs, qualifiedName(string(*spec.Strategy), at.Child("strategy"))...)
	}
	if spec.PreferredHolder != nil && *spec.PreferredHolder != "" && (spec.Strategy == nil || *spec.Strategy == "") {
		errs = append(errs, field.Forbidden(at.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}
