package apiserver

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// addresses are the IPAddresses, each with whose it is.
func (c *cluster) addresses() map[string]string {
	c.t.Helper()
	list, err := c.client().NetworkingV1().IPAddresses().List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	got := map[string]string{}
	for _, ip := range list.Items {
		got[ip.Name] = ip.Spec.ParentRef.Namespace + "/" + ip.Spec.ParentRef.Name
	}
	return got
}

// TestIPAddresses: the IPAddresses are those of the Services at every moment.
func TestIPAddresses(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.ServiceCIDR = []string{"10.0.0.0/24", "fd00:10:96::/112"} })
	ctx, services := t.Context(), c.client().CoreV1().Services("default")
	dual := service("dual", corev1.ServiceTypeClusterIP)
	dual.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack)
	made, err := services.Create(ctx, dual, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"10.0.0.1": "default/kubernetes", made.Spec.ClusterIPs[0]: "default/dual", made.Spec.ClusterIPs[1]: "default/dual"}
	if got := c.addresses(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	six, err := c.client().NetworkingV1().IPAddresses().Get(ctx, made.Spec.ClusterIPs[1], metav1.GetOptions{})
	if err != nil || six.UID == "" || six.CreationTimestamp.IsZero() || six.Spec.ParentRef.Resource != "services" ||
		six.Labels[networkingv1.LabelIPAddressFamily] != "IPv6" || six.Labels[networkingv1.LabelManagedBy] != "ipallocator.k8s.io" {
		t.Errorf("%v, %+v", err, six)
	}

	second := made.Spec.ClusterIPs[1]
	made.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicySingleStack)
	if made, err = services.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(want, second)
	if got := c.addresses(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after the update: %v, want %v", got, want)
	}
	if _, err := services.Create(ctx, service("dry", corev1.ServiceTypeClusterIP), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if err := services.Delete(ctx, "dual", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(want, made.Spec.ClusterIP)
	if got := c.addresses(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after the deletion: %v, want %v", got, want)
	}
}

// TestIPAddressesByHand: who makes an IPAddress has the address; who deletes that of a
// Service takes nothing from it.
func TestIPAddressesByHand(t *testing.T) {
	c := start(t)
	ctx, services, addresses := t.Context(), c.client().CoreV1().Services("default"), c.client().NetworkingV1().IPAddresses()
	byHand := func(ip, resource, name string) error {
		_, err := addresses.Create(ctx, &networkingv1.IPAddress{
			ObjectMeta: metav1.ObjectMeta{Name: ip},
			Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: resource, Namespace: "default", Name: name}},
		}, metav1.CreateOptions{})
		return err
	}
	ask := func(name, ip string) error {
		s := service(name, corev1.ServiceTypeClusterIP)
		s.Spec.ClusterIP = ip
		_, err := services.Create(ctx, s, metav1.CreateOptions{})
		return err
	}
	const taken = "provided IP is already allocated"
	if err := byHand("10.96.0.50", "gateways", "front"); err != nil {
		t.Fatal(err)
	}
	if err := ask("a", "10.96.0.50"); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("a reserved address was given: %v", err)
	}
	if err := addresses.Delete(ctx, "10.96.0.50", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ask("a", "10.96.0.50"); err != nil {
		t.Fatal(err)
	}

	if err := addresses.Delete(ctx, "10.96.0.50", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ask("b", "10.96.0.50"); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("an address was given twice: %v", err)
	}
	if err := byHand("10.96.0.50", "gateways", "front"); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a Service's address was reserved: %v", err)
	}
	if err := byHand("10.96.0.50", "services", "a"); err != nil {
		t.Errorf("what was deleted cannot be put back: %v", err)
	}
	if err := services.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := c.addresses(); got["10.96.0.50"] != "" {
		t.Errorf("the address outlives its Service: %v", got)
	}
	if err := ask("b", "10.96.0.50"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"010.0.0.1": "must not have leading 0s", "::ffff:10.0.0.1": "IPv4-mapped", "x": "must be a valid IP address"} {
		if err := byHand(name, "gateways", "g"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestServiceCIDRs: networks come and go, and addresses with them.
func TestServiceCIDRs(t *testing.T) {
	c := start(t, small)
	ctx, services, cidrs := t.Context(), c.client().CoreV1().Services("default"), c.client().NetworkingV1().ServiceCIDRs()
	def, err := cidrs.Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || !slices.Equal(def.Spec.CIDRs, []string{"10.0.0.0/28"}) || len(def.Status.Conditions) != 1 ||
		def.Status.Conditions[0].Type != "Ready" || def.Status.Conditions[0].Message != "Kubernetes default Service CIDR is ready" {
		t.Fatalf("%v, %+v", err, def)
	}
	for i := range 13 {
		if _, err := services.Create(ctx, service(fmt.Sprintf("s%d", i), corev1.ServiceTypeClusterIP), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	one := func() (*corev1.Service, error) {
		return services.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{GenerateName: "more-"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	}
	if _, err := one(); err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Fatal(err)
	}
	more, err := cidrs.Create(ctx, &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "more", Finalizers: []string{"example.com/hold"}}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.0.1.0/24"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one(); err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Errorf("from a network that is not ready: %v", err)
	}
	more.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	if _, err = cidrs.UpdateStatus(ctx, more, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if s, err := one(); err != nil || !strings.HasPrefix(s.Spec.ClusterIP, "10.0.1.") {
				t.Errorf("%v, %v", err, s)
			}
		})
	}
	wg.Wait()
	if got := len(c.addresses()); got != 22 {
		t.Errorf("%d addresses, want 22", got)
	}
	more.Spec.CIDRs[0] = "10.0.2.0/24"
	more.ResourceVersion = ""
	if _, err := cidrs.Update(ctx, more, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `spec.cidrs[0]: Invalid value: "10.0.2.0/24": field is immutable`) {
		t.Errorf("moved: %v", err)
	}
	if err := cidrs.Delete(ctx, "more", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := one(); err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Errorf("from a network that is going: %v", err)
	}
}
