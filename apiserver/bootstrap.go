package apiserver

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orrery.example.org/api"
)

// own is an object that the server itself keeps: it is made if it is missing, and
// repair mends what the server answers for (nil: nothing).
type own struct {
	resource schema.GroupVersionResource
	object   api.Object
	repair   func(have, want api.Object) // want's essential parts into have
}

// bootstrap makes what must exist in every cluster: four namespaces, and the Service
// "kubernetes" through which Pods find this server.
//
// Upstream counterpart: pkg/controlplane/controller/{systemnamespaces,kubernetesservice}.
func (h *handlers) bootstrap(ctx context.Context, advertise netip.AddrPort) error {
	objects := systemNamespaces()
	objects = append(objects, kubernetesService(h.alloc.First(), advertise)...)
	g, ctx := errgroup.WithContext(ctx) // at once: etcd writes them to disk together
	for _, o := range objects {
		g.Go(func() error {
			if err := h.keep(ctx, o); err != nil {
				return fmt.Errorf("make %s %s: %w", o.resource.Resource, o.object.GetName(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

// keepKubernetes makes the objects anew that somebody has deleted or changed.
func (h *handlers) keepKubernetes(ctx context.Context, advertise netip.AddrPort, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := h.bootstrap(ctx, advertise); err != nil && ctx.Err() == nil {
				h.log.Warn("cannot keep the system's own objects", "err", err)
			}
		}
	}
}

// keep makes the object, or repairs the one that is there.
func (h *handlers) keep(ctx context.Context, o own) error {
	res := h.resources[o.resource]
	if res == nil {
		return fmt.Errorf("no such resource: %s", o.resource)
	}
	namespace, name := o.object.GetNamespace(), o.object.GetName()
	have, err := res.objects.Get(ctx, namespace, name, false)
	if apierrors.IsNotFound(err) {
		_, err = h.add(ctx, res, o.object.DeepCopyObject().(api.Object), false)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if err != nil || o.repair == nil {
		return err
	}
	mended := have.Object.DeepCopyObject().(api.Object)
	o.repair(mended, o.object)
	if equality.Semantic.DeepEqual(mended, have.Object) {
		return nil
	}
	_, err = h.succeed(ctx, res, h.objectView(res), namespace, name, false, func(old api.Object) (api.Object, error) {
		next := old.DeepCopyObject().(api.Object)
		o.repair(next, o.object)
		return next, nil
	})
	return err
}

func systemNamespaces() []own {
	var objects []own
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		objects = append(objects, own{
			resource: corev1.SchemeGroupVersion.WithResource("namespaces"),
			object:   &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		})
	}
	return objects
}

// kubernetesService is the Service without selector, and the endpoints it has instead:
// the address at which this server can be reached.
func kubernetesService(clusterIP netip.Addr, advertise netip.AddrPort) []own {
	const name, port = "kubernetes", "https"
	addressType := discoveryv1.AddressTypeIPv4
	if advertise.Addr().Is6() {
		addressType = discoveryv1.AddressTypeIPv6
	}
	meta := func(labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name, Labels: labels}
	}
	policy := corev1.IPFamilyPolicySingleStack
	return []own{{
		resource: corev1.SchemeGroupVersion.WithResource("services"),
		object: &corev1.Service{
			ObjectMeta: meta(map[string]string{"component": "apiserver", "provider": "kubernetes"}),
			Spec: corev1.ServiceSpec{
				Type:            corev1.ServiceTypeClusterIP,
				ClusterIP:       clusterIP.String(),
				ClusterIPs:      []string{clusterIP.String()},
				IPFamilyPolicy:  &policy,
				SessionAffinity: corev1.ServiceAffinityNone,
				Ports: []corev1.ServicePort{{
					Name: port, Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(int32(advertise.Port())),
				}},
			},
		},
		repair: func(have, want api.Object) {
			have.(*corev1.Service).Spec.Ports = want.(*corev1.Service).Spec.Ports
			have.(*corev1.Service).Spec.Type = corev1.ServiceTypeClusterIP
		},
	}, {
		resource: corev1.SchemeGroupVersion.WithResource("endpoints"),
		object: &corev1.Endpoints{
			ObjectMeta: meta(map[string]string{discoveryv1.LabelSkipMirror: "true"}),
			Subsets: []corev1.EndpointSubset{{
				Addresses: []corev1.EndpointAddress{{IP: advertise.Addr().String()}},
				Ports:     []corev1.EndpointPort{{Name: port, Port: int32(advertise.Port()), Protocol: corev1.ProtocolTCP}},
			}},
		},
		repair: func(have, want api.Object) {
			have.(*corev1.Endpoints).Subsets = want.(*corev1.Endpoints).Subsets
		},
	}, {
		resource: discoveryv1.SchemeGroupVersion.WithResource("endpointslices"),
		object: &discoveryv1.EndpointSlice{
			ObjectMeta:  meta(map[string]string{discoveryv1.LabelServiceName: name}),
			AddressType: addressType,
			Endpoints: []discoveryv1.Endpoint{{
				Addresses:  []string{advertise.Addr().String()},
				Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			}},
			Ports: []discoveryv1.EndpointPort{{
				Name: new(port), Port: new(int32(advertise.Port())), Protocol: new(corev1.ProtocolTCP),
			}},
		},
		repair: func(have, want api.Object) {
			have.(*discoveryv1.EndpointSlice).Endpoints = want.(*discoveryv1.EndpointSlice).Endpoints
			have.(*discoveryv1.EndpointSlice).Ports = want.(*discoveryv1.EndpointSlice).Ports
		},
	}}
}
