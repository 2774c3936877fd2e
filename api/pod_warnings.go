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
	return append(nameWarnings(p, "the Pod's hostname"), podSpecWarnings(p.Annotations, &p.Spec, nil)...)
}

// templateWarnings are about a new object with a Pod template, or a new template.
func templateWarnings[T any, P object[T]](o, old *T, template *corev1.PodTemplateSpec) []string {
	switch {
	case old == nil:
		return append(nameWarnings(P(o), "Pod names and hostnames"), podSpecWarnings(template.Annotations, &template.Spec, templatePath)...)
	case P(o).GetGeneration() != P(old).GetGeneration():
		return podSpecWarnings(template.Annotations, &template.Spec, templatePath)
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

// deprecatedAnnotations did what fields do now.
var deprecatedAnnotations = []struct{ key, why string }{
	{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
	{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
}

// podSpecWarnings are about what is valid and yet hardly meant. at is nil for a Pod,
// spec.template for a template.
func podSpecWarnings(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) []string {
	meta, at := at.Child("metadata"), at.Child("spec")
	w := placementWarnings(spec, at)
	for _, a := range deprecatedAnnotations {
		if _, there := annotations[a.key]; there {
			w = append(w, fmt.Sprintf("%s: %s", meta.Child("annotations").Key(a.key), a.why))
		}
	}
	w = append(w, volumeWarnings(spec.Volumes, at.Child("volumes"))...)
	w = append(w, repetitionWarnings(spec, at)...)
	w = append(w, fractionWarnings(spec.Overhead, at.Child("overhead"))...)
	seen := map[string][]port{}
	var ports []string
	for c, at := range everyContainer(spec, at) {
		w = append(w, fractionWarnings(c.Resources.Limits, at.Child("resources", "limits"))...)
		w = append(w, fractionWarnings(c.Resources.Requests, at.Child("resources", "requests"))...)
		w = append(w, envWarnings(c.Env, at.Child("env"))...)
		ports = append(ports, portWarnings(c.Ports, seen, at.Child("ports"))...)
	}
	w = append(append(w, ports...), portNameWarnings(spec, at)...)
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w = append(w, fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1",
			at.Child("terminationGracePeriodSeconds")))
	}
	return append(append(w, podTermWarnings(spec, at)...), addressWarnings(spec, at)...)
}

// repetitionWarnings are about lists in which an item should be once.
func repetitionWarnings(spec *corev1.PodSpec, at *field.Path) []string {
	var w, empty []string
	ips, names := sets.New[string](), sets.New[string]()
	for i, a := range spec.HostAliases {
		if ips.Has(a.IP) {
			w = append(w, fmt.Sprintf("%s: duplicate ip %q", at.Child("hostAliases").Index(i).Child("ip"), a.IP))
		}
		ips.Insert(a.IP)
	}
	for i, s := range spec.ImagePullSecrets {
		at := at.Child("imagePullSecrets").Index(i).Child("name")
		if names.Has(s.Name) {
			w = append(w, fmt.Sprintf("%s: duplicate name %q", at, s.Name))
		}
		if s.Name == "" {
			empty = append(empty, fmt.Sprintf("%s: invalid empty name %q", at, s.Name))
		}
		names.Insert(s.Name)
	}
	return append(w, empty...)
}

// portNameWarnings: a name stands for the first port that has it.
func portNameWarnings(spec *corev1.PodSpec, at *field.Path) []string {
	var w []string
	first := map[string]*field.Path{}
	for c, at := range everyContainer(spec, at) {
		for i, p := range c.Ports {
			at := at.Child("ports").Index(i)
			if other := first[p.Name]; other != nil {
				w = append(w, fmt.Sprintf("%s: duplicate port name %q with %s, services and probes that select ports by name will use %s",
					at, p.Name, other, other))
			} else if p.Name != "" {
				first[p.Name] = at
			}
		}
	}
	return w
}

func addressWarnings(spec *corev1.PodSpec, at *field.Path) []string {
	var w []string
	for i, ip := range deref(spec.DNSConfig).Nameservers {
		w = append(w, ipWarnings(ip, at.Child("dnsConfig", "nameservers").Index(i))...)
	}
	for i, a := range spec.HostAliases {
		w = append(w, ipWarnings(a.IP, at.Child("hostAliases").Index(i).Child("ip"))...)
	}
	return w
}

func fractionWarnings(list corev1.ResourceList, at *field.Path) []string {
	var w []string
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := list[name]; ok && q.MilliValue()%1000 != 0 {
			w = append(w, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", at.Key(string(name)), q.String()))
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
