package node

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
	"orrery.example.org/node/network"
)

// hostPorts are the node's ports that lead to a Pod with these addresses. In the node's own
// network the Pod's ports are the node's already.
func hostPorts(pod *corev1.Pod, addrs []netip.Addr) []network.HostPort {
	var all []network.HostPort
	for _, p := range api.HostPorts(&pod.Spec) {
		ip, _ := netip.ParseAddr(p.HostIP) // "": all of the node's
		protocol := strings.ToLower(string(p.Protocol))
		if protocol == "" {
			protocol = "tcp"
		}
		for _, addr := range addrs {
			if ip.IsValid() && ip.Is4() != addr.Is4() {
				continue
			}
			all = append(all, network.HostPort{
				Pod: podName(pod), Protocol: protocol, IP: ip, Port: p.HostPort, To: netip.AddrPortFrom(addr, uint16(p.ContainerPort)),
			})
		}
	}
	return all
}
