package fake

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/status"
)

// step is what a node does next about a Pod; the zero value: nothing.
type step struct {
	status *corev1.PodStatus  // to be written
	starts []corev1.Container // they start with it
	remove bool               // the Pod has ended and was asked to go
	again  time.Duration      // look again then; 0: when it changes
}

// lifetime is how long a container runs that is not to be restarted.
const lifetime = time.Second

// play decides what a node without containers does about a Pod that has the address podIP.
func play(pod *corev1.Pod, podIP, hostIP string, now metav1.Time) step {
	if pod.DeletionTimestamp != nil {
		return step{remove: true}
	}
	if final(pod) {
		return step{}
	}
	o := status.Outcome{
		SandboxUp: true, PodIPs: []string{podIP}, HostIPs: []string{hostIP}, Started: now,
		Init: initStatuses(pod, now),
	}
	var s step
	if len(pod.Status.ContainerStatuses) == 0 {
		s.starts = append(append(s.starts, pod.Spec.InitContainers...), pod.Spec.Containers...)
	}
	for i := range pod.Spec.Containers {
		c := containerStatus(&pod.Spec.Containers[i], pod, pod.Status.ContainerStatuses, now)
		if pod.Spec.RestartPolicy != corev1.RestartPolicyAlways && c.State.Running != nil {
			left := lifetime - now.Sub(c.State.Running.StartedAt.Time)
			if left <= 0 {
				complete(&c, now)
			}
			s.again = max(s.again, left)
		}
		o.Containers = append(o.Containers, c)
	}
	if o.Over = s.again <= 0 && pod.Spec.RestartPolicy != corev1.RestartPolicyAlways; o.Over {
		o.SandboxUp = false
		for i := range o.Init { // sidecars end with the others
			if o.Init[i].State.Running != nil {
				complete(&o.Init[i], now)
			}
		}
	}
	next := status.Pod(pod, o, now)
	if !equality.Semantic.DeepEqual(next, pod.Status) {
		s.status = &next
	}
	return s
}

// initStatuses: sidecars run, the others have ended well.
func initStatuses(pod *corev1.Pod, now metav1.Time) (all []corev1.ContainerStatus) {
	for i := range pod.Spec.InitContainers {
		spec := &pod.Spec.InitContainers[i]
		if j := find(pod.Status.InitContainerStatuses, spec.Name); j != nil && j.State.Waiting == nil {
			all = append(all, *j)
			continue
		}
		c := containerStatus(spec, pod, nil, now)
		if !status.IsSidecar(spec) {
			complete(&c, now)
			c.Ready = true // as kubelet has it for those that did their part
		}
		all = append(all, c)
	}
	return all
}

// containerStatus is the one that a container has, or that of one that starts now: for the
// first time, or because its image was changed.
func containerStatus(spec *corev1.Container, pod *corev1.Pod, have []corev1.ContainerStatus, now metav1.Time) corev1.ContainerStatus {
	restarts := int32(0)
	if old := find(have, spec.Name); old != nil && old.State.Waiting == nil {
		if old.Image == spec.Image {
			return *old
		}
		restarts = old.RestartCount + 1
	}
	return corev1.ContainerStatus{
		Name: spec.Name, Image: spec.Image, ImageID: "fake://" + spec.Image, ContainerID: "fake://" + string(pod.UID) + "-" + spec.Name,
		Ready: true, Started: ptr.To(true), RestartCount: restarts,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}
}

// complete ends a container well.
func complete(c *corev1.ContainerStatus, now metav1.Time) {
	c.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: "Completed", StartedAt: c.State.Running.StartedAt, FinishedAt: now, ContainerID: c.ContainerID,
	}}
	c.Ready, c.Started = false, ptr.To(false)
}

func find(all []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

func final(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
