package endpointslice

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"orrery.example.org/controller/backend"
	"orrery.example.org/controller/podstate"
)

// endpoint is what the slices say about a Pod, if anything.
func (s Snapshot) endpoint(pod *corev1.Pod, family corev1.IPFamily) (discoveryv1.Endpoint, bool) {
	address := backend.Address(pod, family)
	if address == "" || !backend.Includes(pod, true) {
		return discoveryv1.Endpoint{}, false
	}
	node := s.Node(pod.Spec.NodeName)
	if node == nil && pod.Spec.NodeName != "" && !s.Service.Spec.PublishNotReadyAddresses {
		// The node was deleted; its Pods are about to be. Traffic to them would be lost.
		return discoveryv1.Endpoint{}, false
	}
	serving, terminating := podstate.IsReady(pod), pod.DeletionTimestamp != nil
	// A Pod on its way out takes no new connections, but a proxy may fall back to those
	// that still serve when nothing else is left.
	ready := s.Service.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  []string{address},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if name := pod.Spec.NodeName; name != "" {
		e.NodeName = &name
	}
	if node != nil && node.Labels[corev1.LabelTopologyZone] != "" {
		zone := node.Labels[corev1.LabelTopologyZone]
		e.Zone = &zone
	}
	if name := backend.Hostname(pod, s.Service); name != "" {
		e.Hostname = &name
	}
	e.Hints = hints(s.Service, e)
	return e, true
}

// hints carries out spec.trafficDistribution: each endpoint asks to be used from its
// own zone, or node. Automatic hints, where a Service wants them, come instead (topology.go).
func hints(svc *corev1.Service, e discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	if svc.Spec.TrafficDistribution == nil || !*e.Conditions.Ready || automatic(svc) {
		return nil
	}
	var h discoveryv1.EndpointHints
	switch *svc.Spec.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return nil
	}
	if e.Zone != nil {
		h.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
	}
	if h.ForNodes == nil && h.ForZones == nil {
		return nil
	}
	return &h
}

// portsOf resolves the Service's ports on a Pod. A port that the Pod does not have is
// left out, and a headless Service may have no ports at all.
func portsOf(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		number, ok := backend.Port(pod, p)
		if !ok {
			continue
		}
		name, protocol := p.Name, p.Protocol
		ports = append(ports, discoveryv1.EndpointPort{
			Name: &name, Port: &number, Protocol: &protocol, AppProtocol: p.AppProtocol,
		})
	}
	return ports
}

// portsKey is the same for the same ports in any order.
func portsKey(ports []discoveryv1.EndpointPort) string {
	var keys []string
	for _, p := range ports {
		keys = append(keys, fmt.Sprintf("%q %d %q %q", value(p.Name), value(p.Port), value(p.Protocol), value(p.AppProtocol)))
	}
	slices.Sort(keys)
	return strings.Join(keys, ",")
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
