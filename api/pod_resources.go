package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resources "k8s.io/component-helpers/resource"
)

// A Pod may say what it needs as a whole; its containers share that then.

// defaultPodResources fills in what follows from the containers: the Pod requests what
// they request together, and what it limits; it has a limit where each of them has one.
func defaultPodResources(spec *corev1.PodSpec) {
	r := spec.Resources
	if r == nil || len(r.Requests)+len(r.Limits) == 0 {
		return
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: spec.Containers, InitContainers: spec.InitContainers}}
	requests := resources.AggregateContainerRequests(p, resources.PodResourcesOptions{})
	limits := resources.AggregateContainerLimits(p, resources.PodResourcesOptions{})
	for name, q := range limits {
		if _, asked := r.Requests[name]; isHugePage(name) && !asked {
			add(&r.Limits, name, q)
		}
	}
	for name, q := range requests {
		if resources.IsSupportedPodLevelResource(name) && overcommits(name) {
			add(&r.Requests, name, q)
		}
	}
	for name, q := range r.Limits {
		if resources.IsSupportedPodLevelResource(name) {
			add(&r.Requests, name, q)
		}
	}
	for name, request := range r.Requests {
		limit, limited := limits[name]
		for c := range everyContainer(spec, nil) {
			_, own := c.Resources.Limits[name]
			limited = limited && own
		}
		if limited && resources.IsSupportedPodLevelResource(name) {
			if request.Cmp(limit) > 0 {
				limit = request
			}
			add(&r.Limits, name, limit)
		}
	}
}

// add fills in what a list leaves out.
func add(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	if _, there := (*list)[name]; there {
		return
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = q.DeepCopy()
}

func validatePodResources(spec *corev1.PodSpec, claims sets.Set[string], at *field.Path) field.ErrorList {
	r := spec.Resources
	if r == nil {
		return nil
	}
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(at, "may not be set for a windows pod")}
	}
	var errs field.ErrorList
	if r.Claims != nil {
		errs = append(errs, field.Forbidden(at.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, validateResources(r, claims, podResourceName, at)...)
	return append(errs, validateShares(spec, at)...)
}

// validateShares: no container may need more than the Pod, nor all of them together.
func validateShares(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	p := &corev1.Pod{Spec: *spec}
	for name, sum := range ordered(resources.AggregateContainerRequests(p, resources.PodResourcesOptions{})) {
		if whole, asked := spec.Resources.Requests[name]; asked && sum.Cmp(whole) > 0 {
			errs = append(errs, field.Invalid(at.Child("requests").Key(string(name)), whole.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	for name, sum := range ordered(resources.AggregateContainerLimits(p, resources.PodResourcesOptions{})) {
		if whole, limited := spec.Resources.Limits[name]; limited && isHugePage(name) && sum.Cmp(whole) > 0 {
			errs = append(errs, field.Invalid(at.Child("limits").Key(string(name)), whole.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String())))
		}
	}
	for i := range spec.Containers {
		for name, limit := range ordered(spec.Containers[i].Resources.Limits) {
			if whole, limited := spec.Resources.Limits[name]; limited && limit.Cmp(whole) > 0 {
				errs = append(errs, field.Invalid(at.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", whole.String())))
			}
		}
	}
	return errs
}
