package apiserver

import (
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/alloc"
	"orrery.example.org/apiserver/store"
)

// The addresses of Services (docs/decisions/0006): the write of a Service claims its
// addresses, and makes an IPAddress of each in the same transaction. The claim decides,
// the IPAddress shows it. Who makes an IPAddress himself claims the address, too.

var (
	ipAddressKind   = api.ByResource(networkingv1.GroupName, "ipaddresses")
	serviceResource = schema.GroupResource{Resource: "services"}
	cidrResource    = schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}
)

// grantService gives a Service its ClusterIPs and node ports.
func (h *handlers) grantService(next, old api.Object, taken alloc.Taken) (alloc.Grant, error) {
	before, _ := old.(*corev1.Service)
	return h.networks().Assign(next.(*corev1.Service), before, taken)
}

// networks is the allocator over the ServiceCIDRs that are Ready and will stay. Until
// the cluster's own one is, which is at its very beginning, the configuration counts.
func (h *handlers) networks() *alloc.Allocator {
	objects, err := h.List(context.Background(), cidrResource, "") // from memory
	if err != nil {
		return h.alloc
	}
	published := false
	var cidrs []string
	for _, o := range objects {
		c := o.(*networkingv1.ServiceCIDR)
		ready := meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
		if c.Name == kubernetesName && ready != nil {
			published = true
		}
		if ready == nil || ready.Status != metav1.ConditionTrue || c.DeletionTimestamp != nil {
			continue
		}
		if c.Name == kubernetesName {
			cidrs = append(slices.Clone(c.Spec.CIDRs), cidrs...) // it comes first
		} else {
			cidrs = append(cidrs, c.Spec.CIDRs...)
		}
	}
	if !published {
		return h.alloc
	}
	return h.alloc.Within(cidrs)
}

// grantAddress claims the address of an IPAddress, unless it is the one that belongs to
// a Service which has claimed it: then somebody puts back what was deleted.
func (h *handlers) grantAddress(next, old api.Object, taken alloc.Taken) (alloc.Grant, error) {
	ip, err := netip.ParseAddr(next.GetName())
	if old != nil || err != nil { // it has it; validation says what is wrong
		return alloc.Grant{}, nil
	}
	name := alloc.IPName(ip)
	if ref := next.(*networkingv1.IPAddress).Spec.ParentRef; ref != nil && ref.Group == "" && ref.Resource == "services" {
		o, err := h.Get(context.Background(), serviceResource, ref.Namespace, ref.Name)
		if svc, ok := o.(*corev1.Service); err == nil && ok && slices.Contains(alloc.Names(svc), name) {
			return alloc.Grant{}, nil
		}
	}
	if taken[name] {
		return alloc.Grant{}, apierrors.NewAlreadyExists(ipAddressKind.GroupResource(), next.GetName())
	}
	return alloc.Grant{Claim: []string{name}}, nil
}

// mirror makes and removes the IPAddresses of what is claimed for a Service, and
// released.
func mirror(o api.Object, g alloc.Grant) []store.Beside {
	svc, ok := o.(*corev1.Service)
	if !ok {
		return nil
	}
	var beside []store.Beside
	for _, name := range g.Claim {
		if ip, ok := alloc.IPOf(name); ok {
			made := api.ServiceIPAddress(ip, svc.Namespace, svc.Name)
			begin(made)
			beside = append(beside, store.Beside{Kind: ipAddressKind, Name: made.Name, Object: made})
		}
	}
	for _, name := range g.Release {
		if ip, ok := alloc.IPOf(name); ok {
			beside = append(beside, store.Beside{Kind: ipAddressKind, Name: ip.String()})
		}
	}
	return beside
}

// takenNames are the names that stored objects hold. They are read from etcd's
// present state, so that what is chosen next is free unless somebody takes it just now.
func (h *handlers) takenNames(ctx context.Context) (alloc.Taken, error) {
	services, err := h.core("services").objects.List(ctx, store.ListOptions{})
	if err != nil {
		return nil, err
	}
	taken := alloc.Taken{}
	for _, v := range services.Items {
		for _, name := range alloc.Names(v.Object.(*corev1.Service)) {
			taken[name] = true
		}
	}
	addresses, err := h.List(ctx, ipAddressKind.GroupResource(), "") // no older than the Services
	for _, o := range addresses {
		if ip, err := netip.ParseAddr(o.GetName()); err == nil {
			taken[alloc.IPName(ip)] = true
		}
	}
	if apierrors.IsNotFound(err) { // a cluster without this kind
		err = nil
	}
	return taken, err
}
