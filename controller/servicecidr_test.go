package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestServiceCIDRs takes a second network from its creation to its end, which waits for
// the last Service with an address of it.
func TestServiceCIDRs(t *testing.T) {
	c := start(t)
	cidrs, services := c.NetworkingV1().ServiceCIDRs(), c.CoreV1().Services("default")
	_, err := cidrs.Create(c.ctx, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"},
		Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"192.0.2.0/24"}}}, metav1.CreateOptions{})
	must(t, err)
	ready := func(status metav1.ConditionStatus, message string) {
		t.Helper()
		eventually(t, "Ready is "+string(status), func() error {
			cidr, err := cidrs.Get(c.ctx, "more", metav1.GetOptions{})
			if err != nil {
				return err
			}
			cond := meta.FindStatusCondition(cidr.Status.Conditions, "Ready")
			if cond == nil || cond.Status != status || cond.Message != message || !slices.Contains(cidr.Finalizers, "networking.k8s.io/service-cidr-finalizer") {
				return fmt.Errorf("%v %+v", cidr.Finalizers, cidr.Status)
			}
			return nil
		})
	}
	ready(metav1.ConditionTrue, "Kubernetes Service CIDR is ready")
	web := func(name, ip string) error {
		_, err := services.Create(c.ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
		return err
	}
	must(t, web("web", "192.0.2.7"))
	must(t, cidrs.Delete(c.ctx, "more", metav1.DeleteOptions{}))
	ready(metav1.ConditionFalse, "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR")
	if err := web("late", "192.0.2.8"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "the provided network does not match the current range") {
		t.Errorf("an address of a network that is going: %v", err)
	}
	must(t, services.Delete(c.ctx, "web", metav1.DeleteOptions{}))
	eventually(t, "the network goes", func() error {
		_, err := cidrs.Get(c.ctx, "more", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there: %v", err)
		}
		return nil
	})
	def, err := cidrs.Get(c.ctx, "kubernetes", metav1.GetOptions{})
	must(t, err)
	if def.DeletionTimestamp != nil || !meta.IsStatusConditionTrue(def.Status.Conditions, "Ready") {
		t.Errorf("the cluster's own network: %+v", def)
	}
}

// TestIPAddressRepair: an IPAddress that was deleted comes back, one for nothing goes,
// and one that somebody else made stays.
func TestIPAddressRepair(t *testing.T) {
	c := start(t)
	addresses := c.NetworkingV1().IPAddresses()
	svc, err := c.CoreV1().Services("default").Create(c.ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	must(t, err)
	for name, labels := range map[string]map[string]string{
		"10.96.9.1": {networkingv1.LabelManagedBy: "ipallocator.k8s.io"}, "10.96.9.2": {networkingv1.LabelManagedBy: "example.com"}} {
		_, err := addresses.Create(c.ctx, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "gone"}}}, metav1.CreateOptions{})
		must(t, err)
	}
	must(t, addresses.Delete(c.ctx, svc.Spec.ClusterIP, metav1.DeleteOptions{}))
	eventually(t, "repair", func() error {
		list, err := addresses.List(c.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var got []string
		for _, ip := range list.Items {
			got = append(got, ip.Name)
		}
		want := []string{svc.Spec.ClusterIP, "10.96.9.2", "10.96.0.1"}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
	c.hasEvent("Service", "ClusterIPNotAllocated", "Cluster IP [IPv4]: "+svc.Spec.ClusterIP+" is not allocated; repairing")
	c.hasEvent("IPAddress", "IPAddressNotAllocated", "IPAddress: 10.96.9.1 for Service default/gone appears to have leaked: cleaning up")
}
