// Package backend knows which Pods stand behind a Service, at which address and port.
// It is what the endpoints and endpointslice loops share. Pure, but for the indexes
// it reads.
//
// Upstream counterpart: pkg/controller/util/endpoint and k8s.io/endpointslice/util.
package backend

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orrery.example.org/controller/podstate"
)

// Accepts reports whether the Service's loop looks after it at all. Without a selector
// the endpoints are somebody else's business, and an ExternalName has none.
func Accepts(svc *corev1.Service) bool {
	return len(svc.Spec.Selector) > 0 && svc.Spec.Type != corev1.ServiceTypeExternalName
}

// Includes reports whether the Pod can be an endpoint, ready or not: it has an address
// and has not run to its end.
func Includes(pod *corev1.Pod, terminatingToo bool) bool {
	return !podstate.IsTerminal(pod) && len(addresses(pod)) > 0 &&
		(terminatingToo || pod.DeletionTimestamp == nil)
}

// Address is the Pod's address of a family, or "".
func Address(pod *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range addresses(pod) {
		if Family(ip) == family {
			return ip
		}
	}
	return ""
}

func addresses(pod *corev1.Pod) []string {
	var out []string
	for _, ip := range pod.Status.PodIPs {
		out = append(out, ip.IP)
	}
	if len(out) == 0 && pod.Status.PodIP != "" {
		out = append(out, pod.Status.PodIP)
	}
	return out
}

// Family is the family of an address, or "" where it is none.
func Family(ip string) corev1.IPFamily {
	addr, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return ""
	case addr.Is4():
		return corev1.IPv4Protocol
	default:
		return corev1.IPv6Protocol
	}
}

// Families is which address families the Service's endpoints have, the primary one first.
func Families(svc *corev1.Service) []corev1.IPFamily {
	if len(svc.Spec.IPFamilies) > 0 {
		return svc.Spec.IPFamilies
	}
	if f := Family(svc.Spec.ClusterIP); f != "" {
		return []corev1.IPFamily{f}
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

// Headless reports whether the Service has no ClusterIP.
func Headless(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone
}

// Hostname is the name the Pod has in the Service's DNS domain, or "".
func Hostname(pod *corev1.Pod, svc *corev1.Service) string {
	if pod.Spec.Subdomain == svc.Name && pod.Namespace == svc.Namespace {
		return pod.Spec.Hostname
	}
	return ""
}

// Port resolves a Service port on a Pod. A target port given by name is looked up in
// the Pod's containers, so each Pod may have its own number for it.
func Port(pod *corev1.Pod, port *corev1.ServicePort) (number int32, ok bool) {
	if port.TargetPort.Type == intstr.Int {
		if n := port.TargetPort.IntVal; n != 0 {
			return n, true
		}
		return port.Port, true
	}
	name := port.TargetPort.StrVal
	protocol := protocolOf(port.Protocol)
	for _, c := range exposed(pod) {
		for _, p := range c.Ports {
			if p.Name == name && protocolOf(p.Protocol) == protocol {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}

// exposed lists the containers that run beside each other: the ordinary ones, then
// sidecars, which are init containers that keep running.
func exposed(pod *corev1.Pod) []corev1.Container {
	out := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// Differs reports whether a Pod's change can change any endpoint.
func Differs(old, cur *corev1.Pod) bool {
	return old.Spec.NodeName != cur.Spec.NodeName ||
		old.Spec.Hostname != cur.Spec.Hostname || old.Spec.Subdomain != cur.Spec.Subdomain ||
		(old.DeletionTimestamp == nil) != (cur.DeletionTimestamp == nil) ||
		podstate.IsTerminal(old) != podstate.IsTerminal(cur) ||
		podstate.IsReady(old) != podstate.IsReady(cur) ||
		!slices.Equal(addresses(old), addresses(cur)) ||
		!maps.Equal(old.Labels, cur.Labels)
}
