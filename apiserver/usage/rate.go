package usage

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Node is what the node used meanwhile; nil: not known.
func (l Looks) Node(meta metav1.ObjectMeta) *metricsv1beta1.NodeMetrics {
	before, now := l.Before, l.Now
	if before.Node.CPU == nil || now.Node.CPU == nil || now.Node.Memory == nil {
		return nil
	}
	list, window := usage(before.Node.CPU, now.Node.CPU, now.Node.Memory)
	return &metricsv1beta1.NodeMetrics{
		ObjectMeta: meta, Timestamp: metav1.NewTime(now.Node.CPU.Time), Window: metav1.Duration{Duration: window}, Usage: list,
	}
}

// Pod is what the containers of a Pod used whose use is known; nil: the node does
// not know of the Pod.
func (l Looks) Pod(meta metav1.ObjectMeta, uid string) *metricsv1beta1.PodMetrics {
	containers, found := l.Now.containersOf(uid)
	if !found {
		return nil
	}
	m := &metricsv1beta1.PodMetrics{ObjectMeta: meta, Timestamp: metav1.Now(), Containers: []metricsv1beta1.ContainerMetrics{}}
	earlier, _ := l.Before.containersOf(uid)
	for _, c := range containers {
		if c.CPU == nil || c.Memory == nil {
			continue
		}
		since := &cpuUsage{Time: c.Start.Time} // it has used nothing when it starts
		for _, e := range earlier {
			if e.Name == c.Name && e.CPU != nil && e.Start.Equal(&c.Start) {
				since = e.CPU
			}
		}
		list, window := usage(since, c.CPU, c.Memory)
		m.Containers = append(m.Containers, metricsv1beta1.ContainerMetrics{Name: c.Name, Usage: list})
		m.Timestamp, m.Window = metav1.NewTime(c.CPU.Time), metav1.Duration{Duration: window}
	}
	return m
}

func (s *Summary) containersOf(uid string) (containers []containerUsage, found bool) {
	for _, p := range s.Pods {
		if p.Ref.UID == uid {
			return p.Containers, true
		}
	}
	return nil, false
}

// usage is CPU as processors kept busy, on average of the window, and memory.
func usage(before, now *cpuUsage, memory *memoryUsage) (corev1.ResourceList, time.Duration) {
	window := now.Time.Sub(before.Time)
	nanoCores := int64(0)
	if window > 0 && now.Total > before.Total {
		nanoCores = int64(float64(now.Total-before.Total) / window.Seconds())
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(nanoCores, resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(memory.WorkingSet), resource.BinarySI),
	}, max(window, 0)
}
