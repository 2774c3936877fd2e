package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// What older servers stored may stay until somebody changes it; 010.1.2.3 is such an
// address.
func TestStoredAddressesMayStay(t *testing.T) {
	const octal, said = "010.1.2.3", `Invalid value: "010.1.2.3": must not have leading 0s`
	e := &corev1.Endpoints{ObjectMeta: metaOf("web"), Subsets: []corev1.EndpointSubset{
		{Addresses: []corev1.EndpointAddress{{IP: octal}}, Ports: []corev1.EndpointPort{{Port: 80, Protocol: corev1.ProtocolTCP}}}}}
	labelled := e.DeepCopy()
	labelled.Labels = map[string]string{"a": "b"}
	wantErrors(t, endpoints.BeforeUpdate(labelled, e))
	more := e.DeepCopy()
	more.Subsets[0].Ports[0].Port = 81
	wantErrors(t, endpoints.BeforeUpdate(more, e), "subsets[0].addresses[0].ip: "+said)

	s := &discoveryv1.EndpointSlice{ObjectMeta: metaOf("web"), AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{octal}}}}
	other := s.DeepCopy()
	other.Labels = map[string]string{"a": "b"}
	wantErrors(t, endpointSlices.BeforeUpdate(other, s))
	other.Endpoints[0].Hostname = ptr("h")
	wantErrors(t, endpointSlices.BeforeUpdate(other, s), "endpoints[0].addresses[0]: "+said)

	p := aPod()
	p.Status = corev1.PodStatus{PodIP: octal, PodIPs: []corev1.PodIP{{IP: octal}}, HostIP: octal, HostIPs: []corev1.HostIP{{IP: octal}}}
	same := p.DeepCopy()
	same.Status.Message = "well"
	wantErrors(t, pods.BeforeStatusUpdate(same, p))
	fresh := p.DeepCopy()
	fresh.Status.PodIPs, fresh.Status.PodIP = nil, ""
	wantErrors(t, pods.BeforeStatusUpdate(p.DeepCopy(), fresh), "status.podIPs[0]: "+said)
}
