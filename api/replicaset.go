package api

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var replicaSets = define(Kind{
	Versions:     []Version{version[appsv1.ReplicaSet, appsv1.ReplicaSetList](appsv1.SchemeGroupVersion, "ReplicaSet")},
	Resource:     "replicasets",
	Singular:     "replicaset",
	ShortNames:   []string{"rs"},
	Categories:   []string{"all"},
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Scale: &Scale{
		Get: func(o Object) *autoscalingv1.Scale {
			rs := o.(*appsv1.ReplicaSet)
			return scaleOf(rs.Spec.Replicas, rs.Status.Replicas, rs.Spec.Selector)
		},
		Set: func(o Object, n int32) { o.(*appsv1.ReplicaSet).Spec.Replicas = &n },
	},
	Columns: append([]Column{
		nameColumn(),
		column("Desired", doc(appsv1.ReplicaSetSpec{}, "replicas"),
			desiredReplicas).integer(),
		column("Current", doc(appsv1.ReplicaSetStatus{}, "replicas"),
			func(rs *appsv1.ReplicaSet) int64 { return int64(rs.Status.Replicas) }).integer(),
		column("Ready", doc(appsv1.ReplicaSetStatus{}, "readyReplicas"),
			func(rs *appsv1.ReplicaSet) int64 { return int64(rs.Status.ReadyReplicas) }).integer(),
		ageColumn(),
	}, templateColumns(appsv1.ReplicaSetSpec{}, func(rs *appsv1.ReplicaSet) (*corev1.PodTemplateSpec, *metav1.LabelSelector) {
		return &rs.Spec.Template, rs.Spec.Selector
	})...),
}, Rules[appsv1.ReplicaSet]{
	Spec:           func(rs *appsv1.ReplicaSet) any { return &rs.Spec },
	Status:         func(rs *appsv1.ReplicaSet) any { return &rs.Status },
	Default:        defaultReplicaSet,
	Validate:       validateReplicaSet,
	ValidateUpdate: validateReplicaSetUpdate,
	ValidateStatus: func(rs, _ *appsv1.ReplicaSet) field.ErrorList { return validateReplicaSetStatus(&rs.Status) },
	Warnings: func(rs, old *appsv1.ReplicaSet) []string {
		return templateWarnings(rs, old, &rs.Spec.Template)
	},
	Fields: func(rs *appsv1.ReplicaSet) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(rs.Status.Replicas))}
	},
})

func defaultReplicaSet(rs *appsv1.ReplicaSet) {
	defaultPodSpec(&rs.Spec.Template.Spec)
	set(&rs.Spec.Replicas, 1)
}

func desiredReplicas(rs *appsv1.ReplicaSet) int64 {
	if rs.Spec.Replicas == nil {
		return 0
	}
	return int64(*rs.Spec.Replicas)
}

func validateReplicaSet(rs *appsv1.ReplicaSet) field.ErrorList {
	spec, at := &rs.Spec, field.NewPath("spec")
	errs := nonNegative(*spec.Replicas, at.Child("replicas"))
	errs = append(errs, nonNegative(spec.MinReadySeconds, at.Child("minReadySeconds"))...)
	return append(errs, validateTemplate(&spec.Template, spec.Selector, at)...)
}

func validateReplicaSetUpdate(rs, old *appsv1.ReplicaSet) field.ErrorList {
	return append(validateReplicaSet(rs), immutable(rs.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateReplicaSetStatus(s *appsv1.ReplicaSetStatus) field.ErrorList {
	at := field.NewPath("status")
	errs := nonNegative(s.ObservedGeneration, at.Child("observedGeneration"))
	errs = append(errs, nonNegative(s.Replicas, at.Child("replicas"))...)
	errs = append(errs, noMoreThanReplicas(s.Replicas, at, counter{"fullyLabeledReplicas", s.FullyLabeledReplicas},
		counter{"readyReplicas", s.ReadyReplicas}, counter{"availableReplicas", s.AvailableReplicas})...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(at.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}
