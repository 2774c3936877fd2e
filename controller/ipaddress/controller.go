// Package ipaddress compares the IPAddresses with the ClusterIPs of Services and mends
// what differs: an IPAddress that somebody deleted is made anew, one that was left over
// is removed.
//
// Upstream counterpart: pkg/registry/core/service/ipallocator/controller (the repair
// loop in kube-apiserver).
//
// What flows in: Services, IPAddresses. What flows out: IPAddresses, and Events that say
// what was wrong.
//
// Kubernetes: there an IPAddress is the allocation, written before its Service, so that
// crashes leak some. Here both are one transaction (docs/decisions/0006): what is mended
// is what people did. It looks at once, and not every three minutes too.
package ipaddress

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
)

// Settling is how long a Service and its IPAddress may differ: the two caches hear of
// them one after the other.
const Settling = 5 * time.Second

// byAddress indexes Services by their ClusterIPs.
const byAddress = "clusterIP"

// Controller is the loop. Its names are addresses.
type Controller struct {
	*loop.Loop[string]

	client    kubernetes.Interface
	services  cache.Indexer
	addresses networkinglisters.IPAddressLister
	events    record.EventRecorder
	settling  time.Duration
}

// New makes the loop and says what wakes it.
func New(env loop.Env, settling time.Duration) (*Controller, error) {
	services, addresses := env.Informers.Core().V1().Services().Informer(), env.Informers.Networking().V1().IPAddresses()
	err := loop.AddIndex(services, byAddress, func(obj any) ([]string, error) { return addressesOf(obj.(*corev1.Service)), nil })
	if err != nil {
		return nil, err
	}
	c := &Controller{
		client: env.Client, services: services.GetIndexer(), addresses: addresses.Lister(),
		events: env.Recorder("ipallocator-repair-controller"), settling: settling,
	}
	c.Loop = loop.New("ipaddress", env, c.sync)
	loop.Watch(c.Loop, services, c.serviceChanged)
	loop.Watch(c.Loop, addresses.Informer(), c.addressChanged)
	return c, nil
}

// serviceChanged looks at the addresses that a Service has got or given up.
func (c *Controller) serviceChanged(old, cur *corev1.Service) {
	seen := map[string]int{}
	for _, ip := range addressesOf(old) {
		seen[ip]++
	}
	for _, ip := range addressesOf(cur) {
		seen[ip]++
	}
	for ip, n := range seen {
		if n == 1 && c.differs(ip) {
			c.AddAfter(ip, c.settling)
		}
	}
}

func (c *Controller) addressChanged(old, cur *networkingv1.IPAddress) {
	name := ""
	if cur != nil {
		name = cur.Name
	} else {
		name = old.Name
	}
	if c.differs(name) {
		c.AddAfter(name, c.settling)
	}
}

// differs says whether there is anything to do about an address. Mostly there is not:
// both objects came in one transaction.
func (c *Controller) differs(name string) bool {
	_, v, err := c.look(name)
	return err != nil || v.remove || v.make != nil || v.reason != ""
}

// look reads both sides.
func (c *Controller) look(name string) (*networkingv1.IPAddress, verdict, error) {
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return nil, verdict{}, nil // no address: validation does not let it in
	}
	owners, err := loop.ByIndex[*corev1.Service](c.services, byAddress, name)
	if err != nil {
		return nil, verdict{}, err
	}
	have, err := c.addresses.Get(name)
	if apierrors.IsNotFound(err) {
		have, err = nil, nil
	}
	return have, judge(ip, have, owners), err
}

// sync mends one address.
func (c *Controller) sync(ctx context.Context, name string) error {
	have, v, err := c.look(name)
	if err != nil {
		return err
	}
	switch {
	case v.reason == "":
	case v.about != nil:
		c.events.Event(v.about, corev1.EventTypeWarning, v.reason, v.message)
	default:
		c.events.Event(have, corev1.EventTypeWarning, v.reason, v.message)
	}
	addresses := c.client.NetworkingV1().IPAddresses()
	if v.remove {
		err := addresses.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove IPAddress %s: %w", name, err)
		}
	}
	if v.make != nil {
		_, err := addresses.Create(ctx, v.make, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make IPAddress %s: %w", name, err)
		}
	}
	return nil
}
