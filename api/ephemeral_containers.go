package api

import (
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Ephemeral containers are added to a running Pod, for somebody who wants to look into
// it (kubectl debug). They come by a subresource of their own and never leave.

// WithEphemeralContainers is what an update of /ephemeralcontainers makes of old: only
// the containers of sent count, and who owns them.
func WithEphemeralContainers(sent, old *corev1.Pod) *corev1.Pod {
	next := old.DeepCopy()
	next.Spec.EphemeralContainers = sent.Spec.EphemeralContainers
	next.ManagedFields = sent.ManagedFields
	if !equality.Semantic.DeepEqual(next.Spec, old.Spec) {
		next.Generation++
	}
	return next
}

// CheckEphemeralContainers is CheckUpdate for /ephemeralcontainers.
func CheckEphemeralContainers(p, old *corev1.Pod) field.ErrorList {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	errs := validation.ValidateObjectMetaAccessorUpdate(p, old, field.NewPath("metadata"))
	errs = append(errs, validateStoredPod(p)...)
	at := field.NewPath("spec", "ephemeralContainers")
	now := map[string]corev1.EphemeralContainer{}
	for _, c := range p.Spec.EphemeralContainers {
		now[c.Name] = c
	}
	for _, was := range old.Spec.EphemeralContainers {
		c, kept := now[was.Name]
		switch {
		case !kept:
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		case !equality.Semantic.DeepEqual(was, c):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(was, c))))
		}
	}
	return errs
}

// validateEphemeralContainers checks what a Pod has of them. names are those of its
// other containers, to which these add theirs.
func validateEphemeralContainers(spec *corev1.PodSpec, pod surroundings, names sets.Set[string], at *field.Path) field.ErrorList {
	var errs field.ErrorList
	targets := names.Clone()
	for i := range spec.EphemeralContainers {
		e, at := &spec.EphemeralContainers[i], at.Index(i)
		c := corev1.Container(e.EphemeralContainerCommon)
		errs = append(errs, validateContainer(&c, pod, at)...)
		errs = append(errs, trimmed(c.Image, at.Child("image"))...)
		errs = append(errs, unique(c.Name, names, at.Child("name"))...)
		if t := e.TargetContainerName; t != "" && !targets.Has(t) {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), t))
		}
		errs = append(errs, forbidForEphemeral(&c, at)...)
	}
	return errs
}

// forbidForEphemeral refuses what would make the container a part of the workload.
func forbidForEphemeral(c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	forbid := func(at *field.Path, value any) {
		if !reflect.ValueOf(value).IsZero() {
			errs = append(errs, field.Forbidden(at, "cannot be set for an Ephemeral Container"))
		}
	}
	forbid(at.Child("ports"), c.Ports)
	forbid(at.Child("resources"), c.Resources)
	forbid(at.Child("resizePolicy"), c.ResizePolicy)
	forbid(at.Child("restartPolicy"), c.RestartPolicy)
	forbid(at.Child("restartPolicyRules"), c.RestartPolicyRules)
	forbid(at.Child("livenessProbe"), c.LivenessProbe)
	forbid(at.Child("readinessProbe"), c.ReadinessProbe)
	forbid(at.Child("startupProbe"), c.StartupProbe)
	forbid(at.Child("lifecycle"), c.Lifecycle)
	for i, m := range c.VolumeMounts {
		forbid(at.Child("volumeMounts").Index(i).Child("subPath"), m.SubPath)
		forbid(at.Child("volumeMounts").Index(i).Child("subPathExpr"), m.SubPathExpr)
	}
	return errs
}
