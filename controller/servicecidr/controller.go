// Package servicecidr looks after the networks that ClusterIPs come from: it declares
// new ones Ready, and holds those that somebody deletes for as long as Services have
// addresses of them.
//
// Upstream counterpart: pkg/controller/servicecidrs.
//
// What flows in: ServiceCIDRs, IPAddresses. What flows out: the finalizer
// networking.k8s.io/service-cidr-finalizer and the condition Ready.
package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/api"
	"orrery.example.org/controller/loop"
)

// finalizer holds a ServiceCIDR that is being deleted.
const finalizer = "networking.k8s.io/service-cidr-finalizer"

// Settling is how long a ServiceCIDR without addresses stays after its deletion was
// asked for: an API server that has not heard of it may give one yet.
const Settling = 10 * time.Second

// Controller is the loop. Its names are those of ServiceCIDRs.
type Controller struct {
	*loop.Loop[loop.Name]

	client    kubernetes.Interface
	cidrs     networkinglisters.ServiceCIDRLister
	addresses networkinglisters.IPAddressLister
	events    record.EventRecorder
	settling  time.Duration
}

// New makes the loop and says what wakes it.
func New(env loop.Env, settling time.Duration) *Controller {
	networking := env.Informers.Networking().V1()
	c := &Controller{
		client: env.Client, cidrs: networking.ServiceCIDRs().Lister(), addresses: networking.IPAddresses().Lister(),
		events: env.Recorder("service-cidr-controller"), settling: settling,
	}
	c.Loop = loop.New("servicecidr", env, c.sync)
	loop.Watch(c.Loop, networking.ServiceCIDRs().Informer(), func(_, _ *networkingv1.ServiceCIDR) { c.all() }) // they are few
	loop.Watch(c.Loop, networking.IPAddresses().Informer(), func(_, cur *networkingv1.IPAddress) {
		if cur == nil { // what was held by it may go
			c.all()
		}
	})
	return c
}

func (c *Controller) all() {
	cidrs, err := c.cidrs.List(labels.Everything())
	if err != nil {
		c.Log().Error("list ServiceCIDRs", "err", err)
	}
	for _, cidr := range cidrs {
		c.Add(loop.NameOf(cidr))
	}
}

// sync looks after one ServiceCIDR.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	cidr, err := c.cidrs.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if cidr.DeletionTimestamp != nil {
		return c.deleted(ctx, cidr)
	}
	if !slices.Contains(cidr.Finalizers, finalizer) {
		cidr = cidr.DeepCopy()
		cidr.Finalizers = append(cidr.Finalizers, finalizer)
		if cidr, err = c.client.NetworkingV1().ServiceCIDRs().Update(ctx, cidr, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("put the finalizer on ServiceCIDR %s: %w", name.Name, err)
		}
	}
	err = c.condition(ctx, cidr, metav1.ConditionTrue, "", "Kubernetes Service CIDR is ready")
	if err != nil && !apierrors.IsConflict(err) {
		c.events.Event(cidr, corev1.EventTypeWarning, "KubernetesServiceCIDRError", "The ServiceCIDR Status can not be set to Ready=True")
	}
	return err
}

// deleted lets a ServiceCIDR go that nobody needs any more.
func (c *Controller) deleted(ctx context.Context, cidr *networkingv1.ServiceCIDR) error {
	if !slices.Contains(cidr.Finalizers, finalizer) {
		return nil
	}
	in, err := c.inUse(cidr)
	if err != nil {
		return err
	}
	if in.IsValid() {
		c.Log().Debug("a ServiceCIDR is still in use", "servicecidr", cidr.Name, "address", in)
		return c.condition(ctx, cidr, metav1.ConditionFalse, networkingv1.ServiceCIDRReasonTerminating,
			"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR")
	}
	if left := c.settling - time.Since(cidr.DeletionTimestamp.Time); left > 0 {
		c.AddAfter(loop.NameOf(cidr), left)
		return nil
	}
	freed := cidr.DeepCopy()
	freed.Finalizers = slices.DeleteFunc(freed.Finalizers, func(f string) bool { return f == finalizer })
	_, err = c.client.NetworkingV1().ServiceCIDRs().Update(ctx, freed, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("take the finalizer off ServiceCIDR %s: %w", cidr.Name, err)
	}
	return nil
}

// inUse is an address that keeps the ServiceCIDR.
func (c *Controller) inUse(cidr *networkingv1.ServiceCIDR) (netip.Addr, error) {
	all, err := c.cidrs.List(labels.Everything())
	if err != nil {
		return netip.Addr{}, err
	}
	others := slices.DeleteFunc(slices.Clone(all), func(o *networkingv1.ServiceCIDR) bool { return o.Name == cidr.Name })
	objects, err := c.addresses.List(labels.SelectorFromSet(labels.Set{networkingv1.LabelManagedBy: api.IPAllocator}))
	if err != nil {
		return netip.Addr{}, err
	}
	var addresses []netip.Addr
	for _, o := range objects {
		if ip, err := netip.ParseAddr(o.Name); err == nil {
			addresses = append(addresses, ip)
		}
	}
	return dependent(cidr, others, addresses), nil
}

// condition writes Ready, if it is not what it says.
func (c *Controller) condition(ctx context.Context, cidr *networkingv1.ServiceCIDR, status metav1.ConditionStatus, reason, message string) error {
	known := meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if known != nil && known.Status == status {
		return nil
	}
	next := cidr.DeepCopy()
	meta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: status, Reason: reason, Message: message,
	})
	_, err := c.client.NetworkingV1().ServiceCIDRs().UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write the status of ServiceCIDR %s: %w", cidr.Name, err)
	}
	return nil
}
