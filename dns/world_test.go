package dns

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The cluster that the tests ask about. Most of it is the one of the tests of CoreDNS's
// kubernetes plugin, so that the rows of those tests can be asked here.

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metaOf("", name)}
}

// svc makes a ClusterIP Service. ips are separated by commas; ports are name/protocol/number.
func svc(namespace, name, ips string, ports ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metaOf(namespace, name)}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.ClusterIPs = strings.Split(ips, ",")
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	for _, p := range ports {
		name, protocol, number := parsePort(p)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name, Protocol: protocol, Port: number})
	}
	return s
}

func external(namespace, name, target string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metaOf(namespace, name)}
	s.Spec.Type = corev1.ServiceTypeExternalName
	s.Spec.ExternalName = target
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80}}
	return s
}

// epSlice makes an EndpointSlice. Endpoints are "IP", "IP hostname", and may end in
// " notready", " terminating" or " unknown".
func epSlice(service, name string, ports string, endpoints ...string) *discoveryv1.EndpointSlice {
	namespace, service, _ := strings.Cut(service, "/")
	es := &discoveryv1.EndpointSlice{ObjectMeta: metaOf(namespace, name), AddressType: discoveryv1.AddressTypeIPv4}
	es.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	for _, p := range strings.Fields(ports) {
		name, protocol, number := parsePort(p)
		es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number})
	}
	for _, text := range endpoints {
		words := strings.Fields(text)
		yes, no := true, false
		ep := discoveryv1.Endpoint{Addresses: words[:1], Conditions: discoveryv1.EndpointConditions{Ready: &yes}}
		for _, word := range words[1:] {
			switch word {
			case "notready":
				ep.Conditions.Ready = &no
			case "terminating":
				ep.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
			case "unknown":
				ep.Conditions.Ready = nil
			default:
				ep.Hostname = &word
			}
		}
		es.Endpoints = append(es.Endpoints, ep)
	}
	return es
}

func parsePort(text string) (name string, protocol corev1.Protocol, number int32) {
	parts := strings.Split(text, "/")
	if _, err := fmt.Sscan(parts[2], &number); err != nil {
		panic(err)
	}
	return parts[0], corev1.Protocol(parts[1]), number
}

func pod(namespace, name, ip string, phase corev1.PodPhase) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metaOf(namespace, name)}
	p.Status = corev1.PodStatus{Phase: phase, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}}
	return p
}

// bigService has more endpoints than a UDP reply has room for.
func bigService() *discoveryv1.EndpointSlice {
	es := epSlice("testns/big", "big-1", "http/TCP/80")
	ready := true
	for i := range 100 {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("172.1.0.%d", i+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return es
}

func world() []runtime.Object {
	return []runtime.Object{
		namespace("testns"), namespace("kube-system"), namespace("podns"),
		svc("kube-system", "kube-dns", "10.0.0.10", "dns/UDP/53", "dns-tcp/TCP/53"),
		epSlice("kube-system/kube-dns", "kube-dns-1", "dns/UDP/53 dns-tcp/TCP/53", "172.0.0.100"),
		svc("testns", "svc1", "10.0.0.1", "http/TCP/80"),
		epSlice("testns/svc1", "svc1-1", "http/TCP/80", "172.0.0.1 ep1a"),
		svc("testns", "svcempty", "10.0.0.2", "http/TCP/80"),
		epSlice("testns/svcempty", "svcempty-1", "http/TCP/80"),
		svc("testns", "svc6", "1234:abcd::1", "http/TCP/80"),
		svc("testns", "svc-dual-stack", "10.0.0.3,10::3", "http/TCP/80"),
		svc("testns", "multi", "10.0.0.4", "http/TCP/80", "dns/UDP/53", "dns-tcp/TCP/53"),
		svc("testns", "unnamed", "10.0.0.5", "/TCP/80"),
		svc("testns", "portless", "10.0.0.6"),
		svc("testns", "hdls1", "None"),
		epSlice("testns/hdls1", "hdls1-1", "http/TCP/80", "172.0.0.2", "172.0.0.3", "172.0.0.4 dup-name",
			"172.0.0.5 dup-name", "5678:abcd::1", "5678:abcd::2"),
		svc("testns", "hdlsprtls", "None"),
		epSlice("testns/hdlsprtls", "hdlsprtls-1", "", "172.0.0.20"),
		svc("testns", "two-slices", "None"),
		epSlice("testns/two-slices", "two-slices-1", "http/TCP/80", "172.0.0.30 a"),
		epSlice("testns/two-slices", "two-slices-2", "web/TCP/8080", "172.0.0.31 b", "172.0.0.30 a"),
		svc("testns", "states", "None"),
		epSlice("testns/states", "states-1", "http/TCP/80", "172.0.0.40", "172.0.0.41 notready", "172.0.0.42 terminating",
			"172.0.0.43 unknown"),
		svc("testns", "noneready", "None"),
		epSlice("testns/noneready", "noneready-1", "http/TCP/80", "172.0.0.50 notready"),
		svc("testns", "big", "None"), bigService(),
		external("testns", "external", "ext.interwebs.test"),
		external("testns", "external-to-service", "svc1.testns.svc.cluster.local."),
		external("testns", "external-to-external", "external-to-service.testns.svc.cluster.local"),
		external("testns", "external-to-missing", "missing.testns.svc.cluster.local"),
		external("testns", "external-address", "192.0.2.1"),
		external("testns", "itself", "itself.testns.svc.cluster.local"),
		external("testns", "round", "robin.testns.svc.cluster.local"),
		external("testns", "robin", "round.testns.svc.cluster.local"),
		epSlice("testns/nosuchservice", "orphan", "http/TCP/80", "172.0.0.60"),
		epSlice("podns/other", "other-1", "http/TCP/80", "172.0.0.1"),
		pod("podns", "foo", "10.240.0.1", corev1.PodRunning),
		pod("podns", "done", "10.240.0.2", corev1.PodSucceeded),
	}
}

// viewOf puts objects into a view the way the watches do.
func viewOf(objects []runtime.Object) *view {
	v := newView()
	v.serial = 3
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			v.setNamespace(key{"", o.Name}, nil, compactNamespace(o))
		case *corev1.Service:
			v.setService(key{o.Namespace, o.Name}, nil, compactService(o))
		case *discoveryv1.EndpointSlice:
			v.setSlice(key{o.Namespace, o.Name}, nil, compactSlice(o))
		case *corev1.Pod:
			v.setPod(key{o.Namespace, o.Name}, nil, compactPod(o))
		}
	}
	return v
}

func testResolver(pods string) resolver {
	return resolver{
		domain: "cluster.local.",
		zones:  []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."},
		ttl:    5,
		pods:   pods,
		locals: []netip.Addr{netip.MustParseAddr("172.0.0.100")},
	}
}
