package api

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var deployments = define(Kind{
	Versions:     []Version{version[appsv1.Deployment, appsv1.DeploymentList](appsv1.SchemeGroupVersion, "Deployment")},
	Resource:     "deployments",
	Singular:     "deployment",
	ShortNames:   []string{"deploy"},
	Categories:   []string{"all"},
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	StatusKeeps:  []string{"labels"},
	Scale: &Scale{
		Get: func(o Object) *autoscalingv1.Scale {
			d := o.(*appsv1.Deployment)
			return scaleOf(d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
		},
		Set: func(o Object, n int32) { o.(*appsv1.Deployment).Spec.Replicas = &n },
	},
	Columns: append([]Column{
		nameColumn(),
		column("Ready", "Number of the pod with ready state", deploymentReady),
		column("Up-to-date", doc(appsv1.DeploymentStatus{}, "updatedReplicas"),
			func(d *appsv1.Deployment) int64 { return int64(d.Status.UpdatedReplicas) }),
		column("Available", doc(appsv1.DeploymentStatus{}, "availableReplicas"),
			func(d *appsv1.Deployment) int64 { return int64(d.Status.AvailableReplicas) }),
		ageColumn(),
	}, templateColumns(appsv1.DeploymentSpec{}, func(d *appsv1.Deployment) (*corev1.PodTemplateSpec, *metav1.LabelSelector) {
		return &d.Spec.Template, d.Spec.Selector
	})...),
}, Rules[appsv1.Deployment]{
	Spec:           func(d *appsv1.Deployment) any { return &d.Spec },
	Status:         func(d *appsv1.Deployment) any { return &d.Status },
	Default:        defaultDeployment,
	PrepareUpdate:  countAnnotations,
	PrepareStatus:  func(d, old *appsv1.Deployment) { d.Labels = old.Labels },
	Validate:       validateDeployment,
	ValidateUpdate: validateDeploymentUpdate,
	ValidateStatus: validateDeploymentStatus,
	Warnings: func(d, old *appsv1.Deployment) []string {
		return templateWarnings(d, old, &d.Spec.Template)
	},
})

var templatePath = field.NewPath("spec", "template")

func defaultDeployment(d *appsv1.Deployment) {
	spec := &d.Spec
	defaultPodSpec(&spec.Template.Spec)
	set(&spec.Replicas, 1)
	set(&spec.RevisionHistoryLimit, 10)
	set(&spec.ProgressDeadlineSeconds, 600)
	fill(&spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		set(&spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		set(&spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		set(&spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
}

// countAnnotations: the controller copies a Deployment's annotations to its
// ReplicaSets, so they count like the spec.
func countAnnotations(d, old *appsv1.Deployment) {
	if d.Generation == old.Generation && !equality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
		d.Generation++
	}
}

func deploymentReady(d *appsv1.Deployment) string {
	desired := int32(0)
	if d.Spec.Replicas != nil {
		desired = *d.Spec.Replicas
	}
	return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, desired)
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	spec, at := &d.Spec, field.NewPath("spec")
	errs := nonNegative(*spec.Replicas, at.Child("replicas"))
	errs = append(errs, validateTemplate(&spec.Template, spec.Selector, at)...)
	errs = append(errs, validateStrategy(&spec.Strategy, at.Child("strategy"))...)
	errs = append(errs, nonNegative(spec.MinReadySeconds, at.Child("minReadySeconds"))...)
	if n := spec.RevisionHistoryLimit; n != nil {
		errs = append(errs, nonNegative(*n, at.Child("revisionHistoryLimit"))...)
	}
	if n := spec.ProgressDeadlineSeconds; n != nil {
		errs = append(errs, nonNegative(*n, at.Child("progressDeadlineSeconds"))...)
		if *n <= spec.MinReadySeconds {
			errs = append(errs, field.Invalid(at.Child("progressDeadlineSeconds"), *n, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, at *field.Path) field.ErrorList {
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
	default:
		shown := struct { // upstream names the field above
			Type          appsv1.DeploymentStrategyType
			RollingUpdate *shownRollingUpdate
		}{s.Type, (*shownRollingUpdate)(s.RollingUpdate)}
		err := field.NotSupported(at, s.Type, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})
		err.BadValue = shown
		return field.ErrorList{err}
	}
	unavailable, surge := *s.RollingUpdate.MaxUnavailable, *s.RollingUpdate.MaxSurge
	errs := countOrPercent(unavailable, rolling.Child("maxUnavailable"))
	errs = append(errs, countOrPercent(surge, rolling.Child("maxSurge"))...)
	if len(errs) > 0 {
		return errs
	}
	if isNothing(unavailable) && isNothing(surge) {
		errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, atMostAll(unavailable, rolling.Child("maxUnavailable"))...)
}

// shownRollingUpdate has the names that upstream shows.
type shownRollingUpdate struct{ MaxUnavailable, MaxSurge *intstr.IntOrString }

func isNothing(v intstr.IntOrString) bool {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, 100, true)
	return err == nil && n == 0
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return append(validateDeployment(d), immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	s, at := &d.Status, field.NewPath("status")
	errs := nonNegative(s.ObservedGeneration, at.Child("observedGeneration"))
	errs = append(errs, nonNegative(s.Replicas, at.Child("replicas"))...)
	errs = append(errs, nonNegative(s.UnavailableReplicas, at.Child("unavailableReplicas"))...)
	errs = append(errs, noMoreThanReplicas(s.Replicas, at, counter{"updatedReplicas", s.UpdatedReplicas},
		counter{"readyReplicas", s.ReadyReplicas}, counter{"availableReplicas", s.AvailableReplicas})...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(at.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	if s.CollisionCount != nil {
		errs = append(errs, nonNegative(*s.CollisionCount, at.Child("collisionCount"))...)
	}
	if was := old.Status.CollisionCount; was != nil && (s.CollisionCount == nil || *s.CollisionCount < *was) {
		errs = append(errs, field.Invalid(at.Child("collisionCount"), s.CollisionCount, "cannot be decremented"))
	}
	return errs
}
