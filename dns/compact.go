package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// The compact functions take out of an object what answers need of it. nil says that
// nothing does.

func compactNamespace(*corev1.Namespace) *struct{} { return &struct{}{} }

func compactService(svc *corev1.Service) *service {
	s := &service{key: key{svc.Namespace, svc.Name}, ports: noPorts}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		// An address is not a name, and a Service that stands for nothing is none.
		if addr, err := netip.ParseAddr(svc.Spec.ExternalName); err == nil && addr.IsValid() || svc.Spec.ExternalName == "" {
			return nil
		}
		s.external = dns.Fqdn(svc.Spec.ExternalName)
		return s
	}
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	s.headless = ips[0] == corev1.ClusterIPNone
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil {
			s.ips = append(s.ips, addr.Unmap())
		}
	}
	if len(svc.Spec.Ports) > 0 {
		s.ports = make([]port, len(svc.Spec.Ports))
	}
	for i, p := range svc.Spec.Ports {
		s.ports[i] = port{strings.ToLower(p.Name), strings.ToLower(string(p.Protocol)), p.Port}
	}
	return s
}

func compactSlice(es *discoveryv1.EndpointSlice) *slice {
	owner := es.Labels[discoveryv1.LabelServiceName]
	if owner == "" || es.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	s := &slice{service: key{es.Namespace, owner}, ports: noPorts}
	if len(es.Ports) > 0 {
		s.ports = make([]port, len(es.Ports))
	}
	for i, p := range es.Ports {
		s.ports[i] = port{strings.ToLower(value(p.Name)), strings.ToLower(string(value(p.Protocol))), -1}
		if p.Port != nil {
			s.ports[i].number = *p.Port
		}
	}
	for _, ep := range es.Endpoints {
		if !isReady(ep.Conditions) {
			continue
		}
		for _, address := range ep.Addresses {
			if addr, err := netip.ParseAddr(address); err == nil {
				s.endpoints = append(s.endpoints, endpoint{addr.Unmap(), value(ep.Hostname)})
			}
		}
	}
	return s
}

// isReady looks at nothing but the ready condition, and takes one that is not known for
// yes. So a terminating endpoint leaves the DNS at once, while a Service that publishes
// addresses that are not ready keeps them: the EndpointSlice says ready for it.
func isReady(c discoveryv1.EndpointConditions) bool { return c.Ready == nil || *c.Ready }

// compactPod keeps the addresses of a Pod that is alive.
func compactPod(pod *corev1.Pod) *[]netip.Addr {
	if pod.DeletionTimestamp != nil {
		return nil
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed:
		return nil
	}
	var ips []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			ips = append(ips, addr.Unmap())
		}
	}
	return &ips
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
