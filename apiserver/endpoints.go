package apiserver

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"orrery.example.org/api"
)

// The endpoints of the Service "kubernetes" are the API servers that are alive. One that
// is the only one on its etcd knows; others say each round that they are there, and whoever
// has not for serverTTL is left out.
//
// Upstream counterpart: pkg/controlplane/reconcilers, of type lease.

// serverTTL is upstream's: a round may be missed, or be late.
const serverTTL = 15 * time.Second

// register is where several servers announce themselves.
type register interface {
	Announce(ctx context.Context, server netip.Addr, ttl time.Duration) error
	Withdraw(ctx context.Context, server netip.Addr) error
	Servers(ctx context.Context) ([]netip.Addr, error)
}

// endpoints announces this server, and is what there must be for all.
func (h *handlers) endpoints(ctx context.Context, advertise netip.AddrPort) ([]own, error) {
	if advertise.Addr().IsLoopback() { // nobody else could reach that, and validation refuses it
		return nil, nil
	}
	servers := []netip.Addr{advertise.Addr()}
	if h.servers != nil {
		if err := h.servers.Announce(ctx, advertise.Addr(), serverTTL); err != nil {
			return nil, err
		}
		all, err := h.servers.Servers(ctx)
		if err != nil {
			return nil, err
		}
		servers = slices.DeleteFunc(all, func(a netip.Addr) bool { return a.Is4() != advertise.Addr().Is4() })
	}
	return kubernetesEndpoints(servers, int32(advertise.Port())), nil
}

// withdraw takes a server that ends out of the endpoints at once, unless it is the last one.
func (h *handlers) withdraw(ctx context.Context, advertise netip.AddrPort) {
	if h.servers == nil || advertise.Addr().IsLoopback() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := h.servers.Withdraw(ctx, advertise.Addr()); err != nil {
		h.log.Info("this server stays an endpoint for a while", "ttl", serverTTL, "err", err)
		return
	}
	servers, err := h.servers.Servers(ctx)
	if err != nil || len(servers) == 0 {
		return // the next to start sees to it
	}
	for _, o := range kubernetesEndpoints(servers, int32(advertise.Port())) {
		if err := h.keep(ctx, o); err != nil {
			return // the others see to it within a round
		}
	}
}

// kubernetesEndpoints are the addresses at which the servers can be reached. All have the
// same port.
func kubernetesEndpoints(servers []netip.Addr, port int32) []own {
	addressType := discoveryv1.AddressTypeIPv4
	if servers[0].Is6() {
		addressType = discoveryv1.AddressTypeIPv6
	}
	var addresses []corev1.EndpointAddress
	var endpoints []discoveryv1.Endpoint
	for _, server := range servers {
		addresses = append(addresses, corev1.EndpointAddress{IP: server.String()})
		endpoints = append(endpoints, discoveryv1.Endpoint{
			Addresses: []string{server.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		})
	}
	return []own{{
		resource: corev1.SchemeGroupVersion.WithResource("endpoints"),
		object: &corev1.Endpoints{
			ObjectMeta: kubernetesMeta(map[string]string{discoveryv1.LabelSkipMirror: "true"}),
			Subsets: []corev1.EndpointSubset{{
				Addresses: addresses,
				Ports:     []corev1.EndpointPort{{Name: kubernetesPort, Port: port, Protocol: corev1.ProtocolTCP}},
			}},
		},
		repair: func(have, want api.Object) {
			have.(*corev1.Endpoints).Subsets = want.(*corev1.Endpoints).Subsets
		},
	}, {
		resource: discoveryv1.SchemeGroupVersion.WithResource("endpointslices"),
		object: &discoveryv1.EndpointSlice{
			ObjectMeta:  kubernetesMeta(map[string]string{discoveryv1.LabelServiceName: kubernetesName}),
			AddressType: addressType,
			Endpoints:   endpoints,
			Ports: []discoveryv1.EndpointPort{{
				Name: new(kubernetesPort), Port: new(port), Protocol: new(corev1.ProtocolTCP),
			}},
		},
		repair: func(have, want api.Object) {
			have.(*discoveryv1.EndpointSlice).Endpoints = want.(*discoveryv1.EndpointSlice).Endpoints
			have.(*discoveryv1.EndpointSlice).Ports = want.(*discoveryv1.EndpointSlice).Ports
		},
	}}
}
