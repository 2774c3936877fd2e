package api

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What a Pod is was decided when it was created; little may change.
var updatableFields = []string{
	"`spec.containers[*].image`",
	"`spec.initContainers[*].image`",
	"`spec.activeDeadlineSeconds`",
	"`spec.tolerations` (only additions to existing tolerations)",
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
}

func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec")
	errs := validateStoredPod(p)
	for _, list := range []struct {
		name     string
		now, was []corev1.Container
	}{
		{"containers", p.Spec.Containers, old.Spec.Containers},
		{"initContainers", p.Spec.InitContainers, old.Spec.InitContainers},
	} {
		if len(list.now) != len(list.was) {
			return append(errs, field.Forbidden(at.Child(list.name), "pod updates may not add or remove containers"))
		}
	}
	errs = append(errs, validateDeadlineUpdate(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds,
		at.Child("activeDeadlineSeconds"))...)
	errs = append(errs, onlyAddedTolerations(p.Spec.Tolerations, old.Spec.Tolerations, at.Child("tolerations"))...)
	errs = append(errs, onlyRemovedGates(p.Spec.SchedulingGates, old.Spec.SchedulingGates, at.Child("schedulingGates"))...)
	if munged := mungePodSpec(&p.Spec, &old.Spec); !equality.Semantic.DeepEqual(munged, &old.Spec) {
		errs = append(errs, field.Forbidden(at, fmt.Sprintf("pod updates may not change fields other than %s\n%s",
			strings.Join(updatableFields, ","), diff.Diff(&old.Spec, munged))))
	}
	return errs
}

// mungePodSpec is the new spec with the fields that may change set back to the old ones.
func mungePodSpec(spec, old *corev1.PodSpec) *corev1.PodSpec {
	m := spec.DeepCopy()
	for i := range m.Containers {
		m.Containers[i].Image = old.Containers[i].Image
	}
	for i := range m.InitContainers {
		m.InitContainers[i].Image = old.InitContainers[i].Image
	}
	m.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	m.SchedulingGates = old.SchedulingGates
	m.Tolerations = old.Tolerations
	was, now := old.TerminationGracePeriodSeconds, m.TerminationGracePeriodSeconds
	if was != nil && *was < 0 && now != nil && *now == 1 {
		m.TerminationGracePeriodSeconds = was
	}
	return m
}

func validateDeadlineUpdate(now, was *int64, at *field.Path) field.ErrorList {
	switch {
	case now == nil && was == nil:
		return nil
	case now == nil:
		return field.ErrorList{field.Invalid(at, now, "must not update from a positive integer to nil value")}
	case *now < 0 || *now > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, *now, validation.InclusiveRangeError(0, math.MaxInt32))}
	case was != nil && *was < *now:
		return field.ErrorList{field.Invalid(at, *now, "must be less than or equal to previous value")}
	}
	return nil
}

func onlyAddedTolerations(now, was []corev1.Toleration, at *field.Path) field.ErrorList {
	for _, old := range was {
		kept := slices.ContainsFunc(now, func(t corev1.Toleration) bool {
			t.TolerationSeconds = old.TolerationSeconds // the one part that may change
			return t == old
		})
		if !kept {
			return field.ErrorList{field.Forbidden(at, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

func onlyRemovedGates(now, was []corev1.PodSchedulingGate, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, g := range now {
		if !slices.Contains(was, g) {
			errs = append(errs, field.Forbidden(at.Index(i).Child("name"),
				fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}
	return errs
}

func validatePodStatus(p, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("status")
	errs := immutableOnceSet(p.Status.QOSClass, old.Status.QOSClass, at.Child("qosClass"))
	for i, c := range p.Status.Conditions {
		if c.ObservedGeneration < 0 {
			errs = append(errs, field.Invalid(at.Child("conditions").Index(i).Child("observedGeneration"),
				c.ObservedGeneration, "must be a non-negative integer"))
		}
	}
	if n := p.Status.NominatedNodeName; n != "" && n != old.Status.NominatedNodeName {
		errs = append(errs, dnsSubdomain(n, at.Child("nominatedNodeName"))...)
	}
	errs = append(errs, validateFamilyPair(podIPs(p), podIPs(old), p.Status.PodIPs, at.Child("podIPs"))...)
	if hosts := hostIPs(p); len(hosts) > 0 && hosts[0] != p.Status.HostIP {
		errs = append(errs, field.Invalid(at.Child("hostIPs").Index(0).Child("ip"), hosts[0], "must be equal to `hostIP`"))
	}
	errs = append(errs, validateFamilyPair(hostIPs(p), hostIPs(old), p.Status.HostIPs, at.Child("hostIPs"))...)
	return append(errs, validateTransitions(p, old, at)...)
}

// immutableOnceSet: a Pod stored before its class was known may still get one.
func immutableOnceSet(now, was corev1.PodQOSClass, at *field.Path) field.ErrorList {
	if was == "" {
		return nil
	}
	return immutable(now, was, at)
}

func podIPs(p *corev1.Pod) []string {
	var ips []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	return ips
}

func hostIPs(p *corev1.Pod) []string {
	var ips []string
	for _, ip := range p.Status.HostIPs {
		ips = append(ips, ip.IP)
	}
	return ips
}

// validateFamilyPair checks a list of addresses that stands in the status as shown.
func validateFamilyPair(ips, before []string, shown any, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	families := map[corev1.IPFamily]bool{}
	for i, ip := range ips {
		errs = append(errs, ipAddress(ip, at.Index(i), before...)...)
		families[familyOf(ip)] = true
	}
	if len(ips) > 1 && len(families) != len(ips) {
		errs = append(errs, field.Invalid(at, untagged(shown), "may specify no more than one IP for each IP family"))
	}
	return errs
}

// validateTransitions: what is over and will not be restarted stays over.
func validateTransitions(p, old *corev1.Pod, at *field.Path) field.ErrorList {
	policy := p.Spec.RestartPolicy
	if policy == corev1.RestartPolicyAlways {
		return nil
	}
	running := map[string]bool{}
	for _, c := range p.Status.ContainerStatuses {
		running[c.Name] = c.State.Terminated == nil
	}
	var errs field.ErrorList
	for i, c := range old.Status.ContainerStatuses {
		t := c.State.Terminated
		if t == nil || t.ExitCode != 0 && policy == corev1.RestartPolicyOnFailure || !running[c.Name] {
			continue
		}
		errs = append(errs, field.Forbidden(at.Child("containerStatuses").Index(i).Child("state"),
			"may not be transitioned to non-terminated state"))
	}
	return errs
}
