package api

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// HostPorts are the ports of its node that a Pod takes as long as it runs: those of its
// containers and sidecars. Scheduler and node agree on it here.
func HostPorts(spec *corev1.PodSpec) []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	take := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				ports = append(ports, p)
			}
		}
	}
	for i := range spec.InitContainers {
		if policy := spec.InitContainers[i].RestartPolicy; policy != nil && *policy == corev1.ContainerRestartPolicyAlways {
			take(&spec.InitContainers[i])
		}
	}
	for i := range spec.Containers {
		take(&spec.Containers[i])
	}
	return ports
}

// HostPortsClash says whether two Pods cannot be on one node for their host ports.
func HostPortsClash(a, b []corev1.ContainerPort) bool {
	return slices.ContainsFunc(a, func(x corev1.ContainerPort) bool {
		return slices.ContainsFunc(b, func(y corev1.ContainerPort) bool {
			return x.HostPort == y.HostPort && protocolOf(x) == protocolOf(y) &&
				(x.HostIP == y.HostIP || everyAddress(x.HostIP) || everyAddress(y.HostIP))
		})
	})
}

func protocolOf(p corev1.ContainerPort) corev1.Protocol {
	if p.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return p.Protocol
}

func everyAddress(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err != nil || addr.IsUnspecified()
}
