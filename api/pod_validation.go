package api

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList {
	spec, at := &p.Spec, field.NewPath("spec")
	errs := validateStoredPod(p)
	if len(spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(at.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if spec.NodeName != "" && len(spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(at.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// validateStoredPod is what holds for a Pod at any time.
func validateStoredPod(p *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec")
	errs := validatePodSpec(&p.Spec, p.Name, at)
	check := func(containers []corev1.Container, at *field.Path) {
		for i := range containers {
			c, at := &containers[i], at.Index(i)
			errs = append(errs, trimmed(c.Image, at.Child("image"))...)
			if p.Spec.HostNetwork {
				errs = append(errs, validateHostPorts(c.Ports, at.Child("ports"))...)
			}
		}
	}
	check(p.Spec.Containers, at.Child("containers"))
	check(p.Spec.InitContainers, at.Child("initContainers"))
	return errs
}

func trimmed(value string, at *field.Path) field.ErrorList {
	if value == strings.TrimSpace(value) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, value, "must not have leading or trailing whitespace")}
}

func validateHostPorts(ports []corev1.ContainerPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		if p.HostPort != p.ContainerPort {
			errs = append(errs, field.Invalid(at.Index(i).Child("hostPort"), p.HostPort,
				"must match `containerPort` when `hostNetwork` is true"))
		}
	}
	return errs
}

// validatePodSpec is for Pods and templates. name is the Pod's, or empty.
func validatePodSpec(spec *corev1.PodSpec, name string, at *field.Path) field.ErrorList {
	volumes, errs := validateVolumes(spec.Volumes, name, at.Child("volumes"))
	claims, wrong := validateResourceClaims(spec.ResourceClaims, at.Child("resourceClaims"))
	errs = append(errs, wrong...)
	errs = append(errs, validateContainers(spec, surroundings{volumes, claims, spec.HostUsers == nil || *spec.HostUsers}, at)...)
	errs = append(errs, validatePodResources(spec, claims, at.Child("resources"))...)
	errs = append(errs, oneOf(spec.RestartPolicy, at.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, oneOf(spec.DNSPolicy, at.Child("dnsPolicy"),
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metavalidation.ValidateLabels(spec.NodeSelector, at.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(spec, at.Child("securityContext"))...)
	if deref(spec.ShareProcessNamespace) && spec.HostPID {
		errs = append(errs, field.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	errs = append(errs, validateAffinity(spec.Affinity, at.Child("affinity"))...)
	errs = append(errs, validatePodDNS(spec, at.Child("dnsConfig"))...)
	errs = append(errs, validateGates(spec, at)...)
	errs = append(errs, validateTopologySpread(spec.TopologySpreadConstraints, at.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateHostProcesses(spec, at)...)
	errs = append(errs, validateHostUsers(spec, at)...)
	errs = append(errs, validateHostnameOverride(spec, at.Child("hostnameOverride"))...)
	errs = append(errs, validatePodNames(spec, at)...)
	if d := spec.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(at.Child("activeDeadlineSeconds"), *d, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	errs = append(errs, validateTolerations(spec.Tolerations, at.Child("tolerations"))...)
	errs = append(errs, validateHostAliases(spec.HostAliases, at.Child("hostAliases"))...)
	if p := spec.PreemptionPolicy; p != nil {
		errs = append(errs, oneOf(*p, at.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	overhead := &corev1.ResourceRequirements{Limits: spec.Overhead}
	errs = append(errs, validateResources(overhead, nil, containerResourceName, at.Child("overhead"))...)
	return append(errs, validateOS(spec, at)...)
}

func validateGates(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, g := range spec.ReadinessGates {
		errs = append(errs, qualifiedName(string(g.ConditionType), at.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	gates := sets.New[string]()
	for i, g := range spec.SchedulingGates {
		errs = append(errs, qualifiedName(g.Name, at.Child("schedulingGates").Index(i))...)
		errs = append(errs, unique(g.Name, gates, at.Child("schedulingGates").Index(i))...)
	}
	return errs
}

// validateHostUsers: a user namespace of its own is worth nothing beside the node's
// processes. The names are upstream's.
func validateHostUsers(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if spec.HostUsers == nil || *spec.HostUsers {
		return nil
	}
	var errs field.ErrorList
	forbid := func(set bool, at *field.Path) {
		if set {
			errs = append(errs, field.Forbidden(at, "when `hostUsers` is false"))
		}
	}
	forbid(spec.HostNetwork, at.Child("hostNetwork"))
	forbid(spec.HostPID, at.Child("HostPID"))
	forbid(spec.HostIPC, at.Child("HostIPC"))
	for c, at := range everyContainer(spec, at) {
		forbid(len(c.VolumeDevices) > 0, at.Child("volumeDevices"))
	}
	return errs
}

// validatePodNames checks the names that a Pod refers to or carries.
func validatePodNames(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(name, value string, rule func(string, *field.Path) field.ErrorList) {
		if value != "" {
			errs = append(errs, rule(value, at.Child(name))...)
		}
	}
	check("serviceAccountName", spec.ServiceAccountName, dnsSubdomain)
	check("nodeName", spec.NodeName, dnsSubdomain)
	check("priorityClassName", spec.PriorityClassName, dnsSubdomain)
	check("hostname", spec.Hostname, dnsLabel)
	check("subdomain", spec.Subdomain, dnsLabel)
	if c := spec.RuntimeClassName; c != nil {
		errs = append(errs, invalid(at.Child("runtimeClassName"), *c, apivalidation.NameIsDNSSubdomain(*c, false))...)
	}
	return errs
}

func validateTolerations(tolerations []corev1.Toleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tolerations {
		at := at.Index(i)
		if t.Key != "" {
			errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if wrong := validation.IsValidLabelValue(t.Value); len(wrong) > 0 {
				errs = append(errs, field.Invalid(at.Child("operator"), t.Value, strings.Join(wrong, ";")))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'"))
			}
		default:
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator,
				[]corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			errs = append(errs, oneOf(t.Effect, at.Child("effect"), corev1.TaintEffectNoSchedule,
				corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		}
	}
	return errs
}
