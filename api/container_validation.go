package api

import (
	"fmt"
	"iter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// surroundings are what of its Pod a container's rules depend on.
type surroundings struct {
	volumes   map[string]*corev1.VolumeSource
	claims    sets.Set[string] // names of the Pod's resourceClaims
	hostUsers bool             // the users are the node's
}

// everyContainer walks all containers of a Pod.
func everyContainer(spec *corev1.PodSpec, at *field.Path) iter.Seq2[*corev1.Container, *field.Path] {
	return func(yield func(*corev1.Container, *field.Path) bool) {
		for i := range spec.InitContainers {
			if !yield(&spec.InitContainers[i], at.Child("initContainers").Index(i)) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i], at.Child("containers").Index(i)) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			c := (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)
			if !yield(c, at.Child("ephemeralContainers").Index(i)) {
				return
			}
		}
	}
}

// validateContainers checks a Pod's containers and init containers, whose names are
// unique among all of them.
func validateContainers(spec *corev1.PodSpec, pod surroundings, at *field.Path) field.ErrorList {
	if len(spec.Containers) == 0 {
		return field.ErrorList{field.Required(at.Child("containers"), "")}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range spec.Containers {
		c, at := &spec.Containers[i], at.Child("containers").Index(i)
		errs = append(errs, validateContainer(c, pod, at)...)
		errs = append(errs, unique(c.Name, names, at.Child("name"))...)
		errs = append(errs, validateProbesAndHooks(c, at)...)
	}
	for i := range spec.InitContainers {
		c, at := &spec.InitContainers[i], at.Child("initContainers").Index(i)
		errs = append(errs, validateContainer(c, pod, at)...)
		errs = append(errs, unique(c.Name, names, at.Child("name"))...)
		if isSidecar(c) {
			errs = append(errs, validateProbesAndHooks(c, at)...)
		} else {
			errs = append(errs, forbidProbesAndHooks(c, at)...)
		}
	}
	errs = append(errs, validateEphemeralContainers(spec, pod, names, at.Child("ephemeralContainers"))...)
	errs = append(errs, validateHostPortConflicts(spec.Containers, at.Child("containers"))...)
	return append(errs, validateHostPortConflicts(spec.InitContainers, at.Child("initContainers"))...)
}

func validateContainer(c *corev1.Container, pod surroundings, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, dnsLabel(c.Name, at.Child("name"))...)
	}
	if c.Image == "" {
		errs = append(errs, field.Required(at.Child("image"), ""))
	}
	errs = append(errs, oneOf(c.TerminationMessagePolicy, at.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validateContainerPorts(c.Ports, at.Child("ports"))...)
	errs = append(errs, validateEnv(c, at)...)
	errs = append(errs, validateVolumeMounts(c, pod.volumes, at.Child("volumeMounts"))...)
	errs = append(errs, validateVolumeDevices(c, pod.volumes, at.Child("volumeDevices"))...)
	errs = append(errs, oneOf(c.ImagePullPolicy, at.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validateResources(&c.Resources, pod.claims, containerResourceName, at.Child("resources"))...)
	if c.RestartPolicy != nil {
		errs = append(errs, supported(*c.RestartPolicy, at.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways,
			corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	return append(errs, validateSecurityContext(c.SecurityContext, pod.hostUsers, at.Child("securityContext"))...)
}

func validateContainerPorts(ports []corev1.ContainerPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, p := range ports {
		at := at.Index(i)
		if p.Name != "" {
			if wrong := validation.IsValidPortName(p.Name); len(wrong) > 0 {
				errs = append(errs, invalid(at.Child("name"), p.Name, wrong)...)
			} else {
				errs = append(errs, unique(p.Name, names, at.Child("name"))...)
			}
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(p.ContainerPort, at.Child("containerPort"))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, portNumber(p.HostPort, at.Child("hostPort"))...)
		}
		errs = append(errs, oneOf(p.Protocol, at.Child("protocol"), protocols...)...)
	}
	return errs
}

// validateHostPortConflicts looks across containers: they share the node's ports.
func validateHostPortConflicts(containers []corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	taken := sets.New[string]()
	for i := range containers {
		for j, p := range containers[i].Ports {
			if p.HostPort != 0 {
				key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
				errs = append(errs, unique(key, taken, at.Index(i).Child("ports").Index(j).Child("hostPort"))...)
			}
		}
	}
	return errs
}
