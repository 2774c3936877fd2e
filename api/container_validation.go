package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateContainers checks a Pod's containers and init containers, whose names are
// unique among all of them.
func validateContainers(spec *corev1.PodSpec, volumes sets.Set[string], at *field.Path) field.ErrorList {
	if len(spec.Containers) == 0 {
		return field.ErrorList{field.Required(at.Child("containers"), "")}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range spec.Containers {
		c, at := &spec.Containers[i], at.Child("containers").Index(i)
		errs = append(errs, validateContainer(c, volumes, at)...)
		errs = append(errs, unique(c.Name, names, at.Child("name"))...)
		errs = append(errs, validateProbesAndHooks(c, at)...)
	}
	for i := range spec.InitContainers {
		c, at := &spec.InitContainers[i], at.Child("initContainers").Index(i)
		errs = append(errs, validateContainer(c, volumes, at)...)
		errs = append(errs, unique(c.Name, names, at.Child("name"))...)
		if isSidecar(c) {
			errs = append(errs, validateProbesAndHooks(c, at)...)
		} else {
			errs = append(errs, forbidProbesAndHooks(c, at)...)
		}
	}
	errs = append(errs, validateEphemeralContainers(spec, volumes, names, at.Child("ephemeralContainers"))...)
	errs = append(errs, validateHostPortConflicts(spec.Containers, at.Child("containers"))...)
	return append(errs, validateHostPortConflicts(spec.InitContainers, at.Child("initContainers"))...)
}

func validateContainer(c *corev1.Container, volumes sets.Set[string], at *field.Path) field.ErrorList {
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
	errs = append(errs, validateVolumeMounts(c.VolumeMounts, volumes, at.Child("volumeMounts"))...)
	errs = append(errs, oneOf(c.ImagePullPolicy, at.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validateResources(&c.Resources, at.Child("resources"))...)
	if c.RestartPolicy != nil {
		errs = append(errs, supported(*c.RestartPolicy, at.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways,
			corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	return append(errs, validateSecurityContext(c.SecurityContext, at.Child("securityContext"))...)
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

func validateVolumeMounts(mounts []corev1.VolumeMount, volumes sets.Set[string], at *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	for i, m := range mounts {
		at := at.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if paths.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		errs = append(errs, relativePath(m.SubPath, at.Child("subPath"))...)
		errs = append(errs, relativePath(m.SubPathExpr, at.Child("subPathExpr"))...)
		if m.SubPath != "" && m.SubPathExpr != "" {
			errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
	}
	return errs
}

func validateResources(r *corev1.ResourceRequirements, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
		errs = append(errs, validateResourceName(name, at)...)
		errs = append(errs, validateQuantity(q, at)...)
	}
	for name, limit := range ordered(r.Limits) {
		check(name, limit, at.Child("limits").Key(string(name)))
	}
	for name, request := range ordered(r.Requests) {
		check(name, request, at.Child("requests").Key(string(name)))
		if limit, limited := r.Limits[name]; limited && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(at.Child("requests"), request.String(),
				fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}

func validateResourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := qualifiedName(string(name), at)
	switch {
	case len(errs) > 0, strings.Contains(string(name), "/"), strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
	case name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage:
		errs = append(errs, field.Invalid(at, name, "must be a standard resource for containers"))
	}
	return errs
}

func validateSecurityContext(s *corev1.SecurityContext, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	if s.RunAsUser != nil {
		errs = append(errs, invalid(at.Child("runAsUser"), *s.RunAsUser, validation.IsValidUserID(*s.RunAsUser))...)
	}
	if s.RunAsGroup != nil {
		errs = append(errs, invalid(at.Child("runAsGroup"), *s.RunAsGroup, validation.IsValidGroupID(*s.RunAsGroup))...)
	}
	if s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation && s.Privileged != nil && *s.Privileged {
		errs = append(errs, field.Invalid(at, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	return errs
}
