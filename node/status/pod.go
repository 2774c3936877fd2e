// Package status puts into words what a node knows about its Pods and about itself: the
// phase, the conditions, and what changes in them.
//
// Upstream counterpart: the pure half of pkg/kubelet/status and of kubelet's nodestatus.
// What a node found out flows in, the status of a Pod or of the Node flows out.
package status

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Outcome is what a node knows about a Pod's run; Pod puts it into words.
type Outcome struct {
	Init, Containers []corev1.ContainerStatus
	Ephemeral        []corev1.ContainerStatus // which decide nothing
	Over             bool                     // nothing of the Pod runs or will run here again
	SandboxUp        bool
	PodIPs           []string // stay when the sandbox has gone
	HostIPs          []string
	Started          metav1.Time
	Rejected         *Rejection // the node refused the Pod
	Overdue          bool       // the node stopped the Pod, because it was active for too long
}

// What becomes of a Pod that is overdue, in upstream's words.
const (
	DeadlineExceeded = "DeadlineExceeded"
	DeadlineMessage  = "Pod was active on the node longer than the specified deadline"
)

// Rejection is why a node refuses a Pod.
type Rejection struct{ Reason, Message string }

// Pod is the Pod's next status. Conditions that others wrote stay, and a
// condition that says what it said before keeps the time since when.
func Pod(pod *corev1.Pod, o Outcome, now metav1.Time) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	status.HostIPs = nil
	for _, ip := range o.HostIPs {
		status.HostIPs = append(status.HostIPs, corev1.HostIP{IP: ip})
	}
	if len(o.HostIPs) > 0 {
		status.HostIP = o.HostIPs[0]
	}
	if status.StartTime == nil {
		status.StartTime = &o.Started
	}
	if o.Rejected != nil {
		status.Phase, status.Reason, status.Message = corev1.PodFailed, o.Rejected.Reason, o.Rejected.Message
		return status
	}
	if len(o.PodIPs) > 0 {
		status.PodIP, status.PodIPs = o.PodIPs[0], nil
	}
	for _, ip := range o.PodIPs {
		status.PodIPs = append(status.PodIPs, corev1.PodIP{IP: ip})
	}
	status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses = startedOrNot(o.Init), startedOrNot(o.Containers), o.Ephemeral
	for i, c := range o.Init {
		if !IsSidecar(&pod.Spec.InitContainers[i]) && c.State.Terminated != nil && !failed(c) {
			status.InitContainerStatuses[i].Ready = true // it has done what it is for
		}
	}
	if status.Phase != corev1.PodFailed && status.Phase != corev1.PodSucceeded { // those are final
		status.Phase = phase(&pod.Spec, o)
		if o.Over && o.Overdue {
			status.Phase, status.Reason, status.Message = corev1.PodFailed, DeadlineExceeded, DeadlineMessage
		}
	}
	for _, c := range conditions(pod, o, status.Phase) {
		c.ObservedGeneration = pod.Generation
		setCondition(&status.Conditions, c, now)
	}
	return status
}

// startedOrNot says of all containers whether they have started, also of those that were not
// begun.
func startedOrNot(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	all = slices.Clone(all)
	for i := range all {
		if all[i].Started == nil {
			all[i].Started = new(bool)
		}
	}
	return all
}

// phase sums up the containers.
func phase(spec *corev1.PodSpec, o Outcome) corev1.PodPhase {
	for i, c := range o.Init {
		switch {
		case IsSidecar(&spec.InitContainers[i]):
			if !begun(o.Containers) && (c.Started == nil || !*c.Started) {
				return corev1.PodPending
			}
		case failed(c) && spec.RestartPolicy == corev1.RestartPolicyNever:
			return corev1.PodFailed
		case c.State.Terminated == nil || failed(c):
			return corev1.PodPending
		}
	}
	var running, waiting, stopped, succeeded int
	for _, c := range o.Containers {
		switch {
		case c.State.Running != nil:
			running++
		case c.State.Terminated != nil:
			stopped++
			if c.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case c.LastTerminationState.Terminated != nil:
			stopped++ // it waits to be restarted
		default:
			waiting++
		}
	}
	switch {
	case o.Over && (waiting > 0 || stopped != succeeded):
		return corev1.PodFailed
	case waiting > 0:
		return corev1.PodPending
	case running > 0, spec.RestartPolicy == corev1.RestartPolicyAlways && !o.Over:
		return corev1.PodRunning
	case stopped == succeeded:
		return corev1.PodSucceeded
	case spec.RestartPolicy == corev1.RestartPolicyNever:
		return corev1.PodFailed
	default:
		return corev1.PodRunning // OnFailure: some will run again
	}
}

// begun says whether any container ran, for which all sidecars had to have started.
func begun(all []corev1.ContainerStatus) bool {
	return slices.ContainsFunc(all, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
	})
}

// IsSidecar says whether an init container runs as long as its Pod.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func failed(c corev1.ContainerStatus) bool {
	return c.State.Terminated != nil && c.State.Terminated.ExitCode != 0
}

// conditions are those that kubelet owns.
func conditions(pod *corev1.Pod, o Outcome, phase corev1.PodPhase) []corev1.PodCondition {
	containersReady := readiness(corev1.ContainersReady, pod.Spec.Containers, o.Containers, phase)
	ready := containersReady
	ready.Type = corev1.PodReady
	if ready.Status == corev1.ConditionTrue {
		ready = readinessGates(pod, ready)
	}
	return []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: boolStatus(o.SandboxUp)},
		initialized(pod, o, phase),
		ready,
		containersReady,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
}

func boolStatus(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// initialized: every init container has ended well, every sidecar has started.
func initialized(pod *corev1.Pod, o Outcome, phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	var incomplete []string
	for i, s := range o.Init {
		sidecar := IsSidecar(&pod.Spec.InitContainers[i])
		done := s.State.Terminated != nil && !failed(s)
		if sidecar && begun(o.Containers) {
			continue
		}
		if !(sidecar && s.Started != nil && *s.Started || !sidecar && done) {
			incomplete = append(incomplete, s.Name)
		}
	}
	if len(incomplete) > 0 {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = "containers with incomplete status: [" + strings.Join(incomplete, " ") + "]"
	}
	return c
}

// readiness: every container is ready.
func readiness(t corev1.PodConditionType, specs []corev1.Container, all []corev1.ContainerStatus, phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse}
	switch phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for _, spec := range specs {
		i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == spec.Name })
		if i < 0 || !all[i].Ready {
			unready = append(unready, spec.Name)
		}
	}
	if len(unready) == 0 {
		c.Status = corev1.ConditionTrue
		return c
	}
	c.Reason = "ContainersNotReady"
	c.Message = "containers with unready status: [" + strings.Join(unready, " ") + "]"
	return c
}

// readinessGates makes a ready Pod wait for the conditions that its spec names.
func readinessGates(pod *corev1.Pod, ready corev1.PodCondition) corev1.PodCondition {
	var missing []string
	for _, gate := range pod.Spec.ReadinessGates {
		i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == gate.ConditionType })
		switch {
		case i < 0:
			missing = append(missing, `corresponding condition of pod readiness gate "`+string(gate.ConditionType)+`" does not exist.`)
		case pod.Status.Conditions[i].Status != corev1.ConditionTrue:
			missing = append(missing, `the status of pod readiness gate "`+string(gate.ConditionType)+`" is not "True", but `+string(pod.Status.Conditions[i].Status))
		}
	}
	if len(missing) > 0 {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return ready
}

func setCondition(all *[]corev1.PodCondition, c corev1.PodCondition, now metav1.Time) {
	c.LastTransitionTime = now
	for i, old := range *all {
		if old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			(*all)[i] = c
			return
		}
	}
	*all = append(*all, c)
}
