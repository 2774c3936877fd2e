package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podWarnings are for whoever makes the Pod; updates are machines' work.
func podWarnings(p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	return append(nameWarnings(p, "the Pod's hostname"), podSpecWarnings(&p.Spec, nil)...)
}

// templateWarnings are about a new object with a Pod template, or a new template.
func templateWarnings[T any, P object[T]](o, old *T, template *corev1.PodTemplateSpec) []string {
	switch {
	case old == nil:
		return append(nameWarnings(P(o), "Pod names and hostnames"), podSpecWarnings(&template.Spec, templatePath)...)
	case P(o).GetGeneration() != P(old).GetGeneration():
		return podSpecWarnings(&template.Spec, templatePath)
	}
	return nil
}

// nameWarnings: a name may have dots, but a hostname with dots is no hostname.
func nameWarnings(o Object, use string) []string {
	wrong := validation.IsDNS1123Label(o.GetName())
	if len(wrong) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in %s, which can result in surprising behavior; a DNS label is recommended: %v", use, wrong)}
}

// podSpecWarnings are about what is valid and yet hardly meant. at is nil for a Pod,
// spec.template for a template.
func podSpecWarnings(spec *corev1.PodSpec, at *field.Path) []string {
	at = at.Child("spec")
	var w []string
	names := sets.New[string]()
	for i, s := range spec.ImagePullSecrets {
		at := at.Child("imagePullSecrets").Index(i).Child("name")
		if names.Has(s.Name) {
			w = append(w, fmt.Sprintf("%s: duplicate name %q", at, s.Name))
		}
		if s.Name == "" {
			w = append(w, fmt.Sprintf("%s: invalid empty name %q", at, s.Name))
		}
		names.Insert(s.Name)
	}
	seen := map[string][]port{}
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
		for i := range list.containers {
			c, at := &list.containers[i], at.Child(list.name).Index(i)
			w = append(w, resourceWarnings(&c.Resources, at.Child("resources"))...)
			w = append(w, envWarnings(c.Env, at.Child("env"))...)
			w = append(w, portWarnings(c.Ports, seen, at.Child("ports"))...)
		}
	}
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w = append(w, fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1",
			at.Child("terminationGracePeriodSeconds")))
	}
	return w
}

func resourceWarnings(r *corev1.ResourceRequirements, at *field.Path) []string {
	var w []string
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		for _, list := range []struct {
			name      string
			resources corev1.ResourceList
		}{{"limits", r.Limits}, {"requests", r.Requests}} {
			if q, ok := list.resources[name]; ok && q.MilliValue()%1000 != 0 {
				w = append(w, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
					at.Child(list.name).Key(string(name)), q.String()))
			}
		}
	}
	return w
}

// envWarnings: a variable may be defined again only to extend it, as in PATH=$(PATH):/x.
func envWarnings(env []corev1.EnvVar, at *field.Path) []string {
	var w []string
	names := sets.New[string]()
	for i, e := range env {
		self := "$(" + e.Name + ")"
		if names.Has(e.Name) && (e.ValueFrom != nil || e.Value == self || !strings.Contains(e.Value, self)) {
			w = append(w, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", at.Index(i), e.Name))
		}
		names.Insert(e.Name)
	}
	return w
}

// port is a container port that was seen, and where.
type port struct {
	corev1.ContainerPort
	at *field.Path
}

func portWarnings(ports []corev1.ContainerPort, seen map[string][]port, at *field.Path) []string {
	var w []string
	for i, p := range ports {
		at := at.Index(i)
		if p.HostIP != "" && p.HostPort == 0 {
			w = append(w, fmt.Sprintf("%s: hostIP set without hostPort: %+v", at, p))
		}
		key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
		for _, other := range seen[key] {
			switch {
			case p.HostIP == other.HostIP && p.HostPort == other.HostPort:
				w = append(w, fmt.Sprintf("%s: duplicate port definition with %s", at, other.at))
			case p.HostPort == 0 || other.HostPort == 0:
				w = append(w, fmt.Sprintf("%s: overlapping port definition with %s", at, other.at))
			case p.HostPort == other.HostPort && (p.HostIP == "") != (other.HostIP == ""):
				w = append(w, fmt.Sprintf("%s: dangerously ambiguous port definition with %s", at, other.at))
			}
		}
		seen[key] = append(slices.Clip(seen[key]), port{p, at})
	}
	return w
}
