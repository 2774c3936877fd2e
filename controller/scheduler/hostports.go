package scheduler

import (
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
)

// hostPorts keeps Pods from nodes where another Pod has a host port that they want.
func hostPorts(pod *corev1.Pod, _ cluster) test {
	ports := api.HostPorts(&pod.Spec)
	if len(ports) == 0 {
		return nil
	}
	return func(n *nodeInfo) refusal {
		for _, other := range n.pods {
			if api.HostPortsClash(ports, api.HostPorts(&other.Spec)) {
				return refuse("node(s) didn't have free ports for the requested pod ports")
			}
		}
		return refusal{}
	}
}
