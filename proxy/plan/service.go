package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	netutils "k8s.io/utils/net"
)

// ProxyNameLabel on a Service says that another proxy takes care of it.
const ProxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Of plans one Service. slices are those that carry its name in the label
// kubernetes.io/service-name, in any order.
func Of(svc *corev1.Service, slices []*discoveryv1.EndpointSlice, node Node) *Service {
	s := &Service{Name: Name{Namespace: svc.Namespace, Name: svc.Name}}
	if s.Skipped = skip(svc); s.Skipped != "" {
		return s
	}
	clusterIP := clusterIPOf(svc, node.Family)
	if !clusterIP.IsValid() {
		s.Skipped = fmt.Sprintf("it has no %s ClusterIP", node.Family)
		return s
	}
	shared := s.sharedPart(svc, node)
	shared.ClusterIP = clusterIP
	endpoints := s.mergeSlices(slices, node)
	for _, sp := range svc.Spec.Ports {
		p := shared
		p.Name = PortName{Name: s.Name, Port: sp.Name, Protocol: protocolOf(sp.Protocol)}
		p.Port, p.NodePort = uint16(sp.Port), uint16(sp.NodePort)
		p.Endpoints = endpoints.take(p.Name)
		p.choose(node)
		s.Ports = append(s.Ports, p)
	}
	endpoints.ignoreRest(s)
	s.LocalReady = s.countLocalReady()
	return s
}

// skip says why a Service is none of the proxy's business, or "".
func skip(svc *corev1.Service) string {
	proxy, foreign := svc.Labels[ProxyNameLabel]
	switch {
	case foreign:
		return fmt.Sprintf("the label %s gives it to the proxy %q", ProxyNameLabel, proxy)
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return "it is of type ExternalName, a matter of DNS alone"
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return "it is headless, a matter of DNS alone"
	case svc.Spec.ClusterIP == "":
		return "it has no ClusterIP"
	}
	return ""
}

// clusterIPOf is the Service's address of a family, invalid if it has none.
func clusterIPOf(svc *corev1.Service, family Family) netip.Addr {
	candidates := svc.Spec.ClusterIPs
	if len(candidates) == 0 {
		candidates = []string{svc.Spec.ClusterIP}
	}
	for _, text := range candidates {
		if addr, ok := parseAddr(text); ok && familyOf(addr) == family {
			return addr
		}
	}
	return netip.Addr{}
}

// sharedPart fills in what all ports of a Service have in common.
func (s *Service) sharedPart(svc *corev1.Service, node Node) Port {
	external := svc.Spec.Type == corev1.ServiceTypeLoadBalancer || svc.Spec.Type == corev1.ServiceTypeNodePort ||
		len(svc.Spec.ExternalIPs) > 0
	p := Port{
		ExternalIPs:     s.addrs("externalIPs", svc.Spec.ExternalIPs, node.Family),
		LoadBalancerIPs: s.addrs("status.loadBalancer", s.virtualIPs(svc), node.Family),
		SourceRanges:    s.sourceRanges(svc, node.Family),
		ExternalLocal:   external && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	p.NodeInSourceRanges = slices.ContainsFunc(p.SourceRanges, func(r netip.Prefix) bool { return r.Contains(node.IP) })
	if policy := svc.Spec.InternalTrafficPolicy; policy != nil {
		p.InternalLocal = *policy == corev1.ServiceInternalTrafficPolicyLocal
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		p.AffinitySeconds = int(corev1.DefaultClientIPServiceAffinitySeconds)
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			p.AffinitySeconds = int(*c.ClientIP.TimeoutSeconds)
		}
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && p.ExternalLocal {
		p.HealthCheckNodePort = uint16(svc.Spec.HealthCheckNodePort)
	}
	s.HealthCheckNodePort = p.HealthCheckNodePort
	return p
}

// virtualIPs are the load balancer addresses whose packets arrive at the node with the
// destination unchanged. Others (a name, or ipMode Proxy) must leave to the balancer.
func (s *Service) virtualIPs(svc *corev1.Service) []string {
	var ips []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		switch {
		case in.IP == "":
			s.ignore("load balancer "+in.Hostname, "it is known by name only")
		case in.IPMode != nil && *in.IPMode != corev1.LoadBalancerIPModeVIP:
			s.ignore("load balancer "+in.IP, fmt.Sprintf("its ipMode is %s: traffic must pass it", *in.IPMode))
		default:
			ips = append(ips, in.IP)
		}
	}
	return ips
}

// addrs parses addresses, keeps those of the family and drops repetitions.
func (s *Service) addrs(field string, texts []string, family Family) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		addr, ok := parseAddr(text)
		switch {
		case !ok:
			s.ignore(field+" "+text, "it is not an IP address")
		case familyOf(addr) == family && !slices.Contains(out, addr):
			out = append(out, addr)
		}
	}
	return out
}

// sourceRanges parses loadBalancerSourceRanges. A range that holds every address means
// that there is no limit.
func (s *Service) sourceRanges(svc *corev1.Service, family Family) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range svc.Spec.LoadBalancerSourceRanges {
		_, ipNet, err := netutils.ParseCIDRSloppy(strings.TrimSpace(text))
		if err != nil {
			s.ignore("loadBalancerSourceRanges "+text, "it is not a CIDR")
			continue
		}
		prefix, err := netip.ParsePrefix(ipNet.String())
		if err != nil || familyOf(prefix.Addr()) != family {
			continue
		}
		if prefix.Bits() == 0 {
			return nil
		}
		if !slices.Contains(out, prefix) {
			out = append(out, prefix)
		}
	}
	return out
}

func (s *Service) ignore(what, why string) { s.Ignored = append(s.Ignored, Ignored{what, why}) }

func (s *Service) countLocalReady() int {
	distinct := map[netip.Addr]bool{}
	for _, p := range s.Ports {
		for _, e := range p.Endpoints {
			if e.OnNode && e.Ready {
				distinct[e.Addr.Addr()] = true
			}
		}
	}
	return len(distinct)
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// parseAddr accepts leading zeros as Kubernetes always has: 10.0.0.010 is 10.0.0.10.
func parseAddr(text string) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	return addr.Unmap(), ok
}

func familyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}
