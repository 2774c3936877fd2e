// Package cgroup bounds what the processes of Pods may use: memory, processor time and
// how many there are.
//
// Upstream counterparts: kubelet's container manager and, for single containers, runc. In
// flow a Pod's requests and limits; out come directories of the kernel's cgroup hierarchy,
// laid out as kubelet's (kubepods, then the class, the Pod, the container), into which
// processes are born. Only version 2 is used, as kubelet's default is since 1.35. Left
// out: weights of the classes that follow their Pods, huge pages, oom_score_adj, bounds
// for the sum of all Pods.
package cgroup

import (
	"fmt"
	"math"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resources "k8s.io/component-helpers/resource"

	"orrery.example.org/api"
)

// Files are the contents of a cgroup's files.
type Files map[string]string

const (
	period     = 100_000 // of processor time, in µs
	leastQuota = 1_000
	noLimit    = "max"
)

// ForContainer is what one container may use.
func ForContainer(c *corev1.Container) Files {
	files := Files{
		"cpu.weight":       weight(requested(c.Resources)),
		"memory.oom.group": "1", // one process that is killed takes the others with it
		"memory.swap.max":  "0",
	}
	if limit := c.Resources.Limits.Cpu(); !limit.IsZero() {
		files["cpu.max"] = quota(limit)
	}
	if limit := c.Resources.Limits.Memory(); !limit.IsZero() {
		files["memory.max"] = strconv.FormatInt(limit.Value(), 10)
	}
	return files
}

// requested is the processor time of a request; a limit stands in for one.
func requested(r corev1.ResourceRequirements) *resource.Quantity {
	if _, asked := r.Requests[corev1.ResourceCPU]; !asked {
		return r.Limits.Cpu()
	}
	return r.Requests.Cpu()
}

// ForPod is what all containers of a Pod together may use. A limit holds where each of
// them has one. pids is how many processes; negative: as many as they like.
func ForPod(pod *corev1.Pod, pids int64) Files {
	files := Files{"cpu.weight": "1", "pids.max": noLimit}
	if pids >= 0 {
		files["pids.max"] = strconv.FormatInt(pids, 10)
	}
	if api.QOSClass(&pod.Spec) == corev1.PodQOSBestEffort {
		return files
	}
	requests := resources.PodRequests(pod, resources.PodResourcesOptions{})
	files["cpu.weight"] = weight(requests.Cpu())
	limits := resources.PodLimits(pod, resources.PodResourcesOptions{})
	if limited(pod, corev1.ResourceCPU) {
		files["cpu.max"] = quota(limits.Cpu())
	}
	if limited(pod, corev1.ResourceMemory) {
		files["memory.max"] = strconv.FormatInt(limits.Memory().Value(), 10)
	}
	return files
}

// limited says whether the Pod, or each of its containers, has a limit.
func limited(pod *corev1.Pod, name corev1.ResourceName) bool {
	if r := pod.Spec.Resources; r != nil && !r.Limits.Name(name, resource.DecimalSI).IsZero() {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if c.Resources.Limits.Name(name, resource.DecimalSI).IsZero() {
				return false
			}
		}
	}
	return true
}

// quota is how much processor time there is in each period.
func quota(limit *resource.Quantity) string {
	return fmt.Sprintf("%d %d", max(limit.MilliValue()*period/1000, leastQuota), period)
}

// weight turns processor time into version 1's shares, 1024 a processor, and these into
// version 2's weight, as runc does since 1.4: so that 1024 become 100, the default.
func weight(cpu *resource.Quantity) string {
	const least, most = 2, 262144
	shares := min(max(cpu.MilliValue()*1024/1000, least), most)
	switch shares {
	case least:
		return "1"
	case most:
		return "10000"
	}
	l := math.Log2(float64(shares))
	return strconv.Itoa(int(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34))))
}
