package api

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func someEndpoints() *corev1.Endpoints {
	return &corev1.Endpoints{ObjectMeta: metaOf("web"), Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "10.244.1.2"}},
		Ports:     []corev1.EndpointPort{{Port: 80}},
	}}}
}

func TestInvalidEndpoints(t *testing.T) {
	created(t, endpoints, someEndpoints, []invalidCase[corev1.Endpoints]{
		{"no addresses", func(e *corev1.Endpoints) { e.Subsets[0].Addresses = nil }, []string{
			"subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"}},
		{"addresses", func(e *corev1.Endpoints) {
			e.Subsets[0].NotReadyAddresses = []corev1.EndpointAddress{{IP: "010.0.0.1"}, {IP: "0.0.0.0"}, {IP: "169.254.1.1", Hostname: "A"}, {IP: "224.0.0.5"}}
		}, []string{
			`subsets[0].notReadyAddresses[0].ip: Invalid value: "010.0.0.1": must not have leading 0s`,
			`subsets[0].notReadyAddresses[1].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0 or ::)`,
			`subsets[0].notReadyAddresses[2].ip: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)`,
			`subsets[0].notReadyAddresses[2].hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`,
			`subsets[0].notReadyAddresses[3].ip: Invalid value: "224.0.0.5": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)`}},
		{"ports", func(e *corev1.Endpoints) {
			e.Subsets[0].Ports = []corev1.EndpointPort{{Port: 0, Protocol: "X"}, {Name: "a", Port: 1}}
		}, []string{
			`subsets[0].ports[0].name: Required value`,
			`subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive`,
			`subsets[0].ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`}},
	})
}

func aSlice() *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metaOf("web-1"),
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.2"}}},
		Ports:       []discoveryv1.EndpointPort{{Port: ptr[int32](80)}},
	}
}

func TestEndpointSliceDefaults(t *testing.T) {
	s := aSlice()
	if endpointSlices.SetDefaults(s); *s.Ports[0].Name != "" || *s.Ports[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("%+v", s.Ports[0])
	}
}

func TestInvalidEndpointSlices(t *testing.T) {
	many := func(n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("10.244.%d.%d", i/250, i%250+1))
		}
		return list
	}
	created(t, endpointSlices, aSlice, []invalidCase[discoveryv1.EndpointSlice]{
		{"address type", func(s *discoveryv1.EndpointSlice) { s.AddressType = "" }, []string{`addressType: Required value`}},
		{"another address type", func(s *discoveryv1.EndpointSlice) { s.AddressType = "IP" }, []string{
			`addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"`}},
		{"no address", func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = nil }, []string{
			`endpoints[0].addresses: Required value`}},
		{"addresses", func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = []string{"x", "127.0.0.1", "fd00::1"} }, []string{
			`endpoints[0].addresses[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
			`endpoints[0].addresses[1]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
			`endpoints[0].addresses[2]: Invalid value: "fd00::1": must be an IPv4 address`}},
		{"too many addresses", func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = many(101) }, []string{
			`endpoints[0].addresses: Too many: 101: must have at most 100 items`}},
		{"too many endpoints", func(s *discoveryv1.EndpointSlice) { s.Endpoints = make([]discoveryv1.Endpoint, 1001) }, []string{
			`endpoints: Too many: 1001: must have at most 1000 items`}},
		{"names", func(s *discoveryv1.EndpointSlice) {
			s.Endpoints[0].Hostname, s.Endpoints[0].NodeName = ptr(""), ptr("node1")
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Protocol: ptr(corev1.Protocol("X"))})
		}, []string{
			`endpoints[0].hostname: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`,
			`ports[1].name: Duplicate value: ""`,
			`ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`}},
		{"hints", func(s *discoveryv1.EndpointSlice) {
			s.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}, {Name: "a"}}, ForNodes: make([]discoveryv1.ForNode, 9)}
		}, []string{
			`endpoints[0].hints.forZones[1].name: Duplicate value: "a"`,
			`endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items`}},
	})
	updated(t, endpointSlices, aSlice, []invalidCase[discoveryv1.EndpointSlice]{
		{"address type", func(s *discoveryv1.EndpointSlice) {
			s.AddressType, s.Endpoints[0].Addresses = discoveryv1.AddressTypeFQDN, []string{"example.org"}
		}, []string{`addressType: Invalid value: "FQDN": field is immutable`}},
	})
}
