package controller_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller"
	"orrery.example.org/controller/loadbalancer"
)

// balanced makes a LoadBalancer Service.
func (c *cluster) balanced(name string, change func(*corev1.Service)) *corev1.Service {
	c.t.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if change != nil {
		change(s)
	}
	made, err := c.CoreV1().Services("default").Create(c.ctx, s, metav1.CreateOptions{})
	must(c.t, err)
	return made
}

func (c *cluster) patchService(name, patch string) {
	c.t.Helper()
	_, err := c.CoreV1().Services("default").Patch(c.ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	must(c.t, err)
}

func (c *cluster) deleteService(name string) {
	c.t.Helper()
	must(c.t, c.CoreV1().Services("default").Delete(c.ctx, name, metav1.DeleteOptions{}))
	eventually(c.t, name+" is gone", func() error {
		_, err := c.CoreV1().Services("default").Get(c.ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	})
}

// hasAddress waits until a Service has this address; "" is none.
func (c *cluster) hasAddress(name, want string) {
	c.t.Helper()
	eventually(c.t, name+" has "+want, func() error {
		s, err := c.CoreV1().Services("default").Get(c.ctx, name, metav1.GetOptions{})
		must(c.t, err)
		got := ""
		for _, in := range s.Status.LoadBalancer.Ingress {
			got += in.IP
		}
		if finalizer := slices.Contains(s.Finalizers, loadbalancer.Finalizer); got != want || want != "" && !finalizer {
			return fmt.Errorf("address %q, finalizers %v", got, s.Finalizers)
		}
		return nil
	})
}

// TestLoadBalancerAddresses: who gets which, keeps it, waits for it and gives it back.
func TestLoadBalancerAddresses(t *testing.T) {
	c := serve(t)
	cfg := controller.Defaults()
	cfg.Client, cfg.Log = c.config, c.log
	cfg.LoadBalancerPool, cfg.LoadBalancerClass = []string{"172.30.100.1-172.30.100.3"}, "example.org/ours"
	stop := c.manage(cfg)
	class := func(name string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
	}
	c.balanced("asks", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "172.30.100.2" })
	c.hasAddress("asks", "172.30.100.2")
	c.balanced("first", nil)
	c.hasAddress("first", "172.30.100.1")
	c.balanced("foreign", class("example.org/theirs"))
	c.balanced("ours", class("example.org/ours"))
	c.hasAddress("ours", "172.30.100.3")
	c.hasAddress("foreign", "")
	c.hasEvent("Service", "EnsuringLoadBalancer", "Ensuring load balancer")
	c.hasEvent("Service", "EnsuredLoadBalancer", "Ensured load balancer")
	c.hasEvent("Service", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")

	c.balanced("waits", nil)
	c.hasEvent("Service", "SyncLoadBalancerFailed", "Error syncing load balancer: failed to ensure load balancer: the pool has no free address")
	c.balanced("wrong", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "172.30.100.9" })
	c.hasEvent("Service", "SyncLoadBalancerFailed", "the requested address 172.30.100.9 is not in the pool")
	c.hasAddress("waits", "")
	c.deleteService("first")
	c.hasEvent("Service", "DeletingLoadBalancer", "Deleting load balancer")
	c.hasEvent("Service", "DeletedLoadBalancer", "Deleted load balancer")
	c.hasAddress("waits", "172.30.100.1")

	// A new manager finds everyone where the old one left him, and a Service that is no
	// load balancer any more, which nobody had looked at.
	stop()
	c.patchService("asks", `{"spec":{"type":"ClusterIP"}}`)
	c.balanced("later", nil)
	c.manage(cfg)
	c.hasAddress("later", "172.30.100.2")
	c.hasAddress("asks", "")
	c.hasAddress("waits", "172.30.100.1")
	c.hasAddress("ours", "172.30.100.3")
	eventually(t, "the finalizer is gone", func() error { // a write of its own, after the address
		asks, err := c.CoreV1().Services("default").Get(c.ctx, "asks", metav1.GetOptions{})
		must(t, err)
		if len(asks.Finalizers) > 0 {
			return fmt.Errorf("finalizers of a ClusterIP: %v", asks.Finalizers)
		}
		return nil
	})

	c.patchService("waits", `{"spec":{"type":"NodePort"}}`)
	c.patchService("wrong", `{"spec":{"loadBalancerIP":"172.30.100.1"}}`)
	c.hasAddress("wrong", "172.30.100.1")
	c.deleteService("wrong")
	c.deleteService("waits")

	// Nobody else's writes take an address away.
	s, err := c.CoreV1().Services("default").Get(c.ctx, "later", metav1.GetOptions{})
	must(t, err)
	mode := corev1.LoadBalancerIPModeVIP
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.30.100.3", IPMode: &mode}}
	_, err = c.CoreV1().Services("default").UpdateStatus(c.ctx, s, metav1.UpdateOptions{})
	must(t, err)
	c.hasAddress("later", "172.30.100.2")
}

// TestLoadBalancerNodes: Services are told when the nodes that take part change.
func TestLoadBalancerNodes(t *testing.T) {
	c := start(t)
	c.node("node1")
	c.balanced("web", nil)
	c.hasAddress("web", "172.30.100.1")
	c.hasEvent("Service", "EnsuredLoadBalancer", "Ensured load balancer")
	c.node("node2")
	c.hasEvent("Service", "UpdatedLoadBalancer", "Updated load balancer with new hosts")
	for _, name := range []string{"node1", "node2"} {
		must(t, c.CoreV1().Nodes().Delete(c.ctx, name, metav1.DeleteOptions{}))
	}
	c.hasEvent("Service", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")
}

// TestLoadBalancersAreSomebodyElses: without a pool nobody looks at them.
func TestLoadBalancersAreSomebodyElses(t *testing.T) {
	c := start(t, func(cfg *controller.Config) { cfg.LoadBalancerPool = nil })
	c.balanced("web", nil)
	c.deleteService("web") // which no finalizer holds back
}
