package apiserver

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func service(name string, kind corev1.ServiceType) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: kind, Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// small is a cluster with 14 ClusterIPs, the first of which is taken, and 20 node ports.
func small(c *Config) {
	c.ServiceCIDR, c.NodePortRange = []string{"10.0.0.0/28"}, "30000-30019"
}

// TestAllocationUnderConcurrency creates more Services at once than there are
// addresses: all addresses go, none twice, and who comes too late is told.
func TestAllocationUnderConcurrency(t *testing.T) {
	c := start(t, small)
	services := c.client().CoreV1().Services("default")
	var mu sync.Mutex
	var wg sync.WaitGroup
	given := map[string]string{}
	full := 0
	for i := range 20 {
		wg.Go(func() {
			s, err := services.Create(t.Context(), service(fmt.Sprintf("s%d", i), corev1.ServiceTypeNodePort), metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if !strings.Contains(err.Error(), "failed to allocate a serviceIP: range is full") {
					t.Errorf("s%d: %v", i, err)
				}
				full++
				return
			}
			for _, v := range []string{s.Spec.ClusterIP, fmt.Sprint(s.Spec.Ports[0].NodePort)} {
				if other := given[v]; other != "" {
					t.Errorf("%s was given to %s and to %s", v, other, s.Name)
				}
				given[v] = s.Name
			}
		})
	}
	wg.Wait()
	if full != 7 {
		t.Errorf("%d of 20 were refused, want 7", full)
	}

	// What one gives back another can have; and it all survives a restart.
	for _, v := range given {
		if err := services.Delete(t.Context(), v, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	c.stop()
	c.boot(small)
	services = c.client().CoreV1().Services("default")
	for i := range 13 {
		if _, err := services.Create(t.Context(), service(fmt.Sprintf("again%d", i), corev1.ServiceTypeNodePort), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := services.Create(t.Context(), service("more", corev1.ServiceTypeClusterIP), metav1.CreateOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("the fifteenth address: %v", err)
	}
}

func TestServiceRequests(t *testing.T) {
	c := start(t)
	ctx, services := t.Context(), c.client().CoreV1().Services("default")
	asked := service("asked", corev1.ServiceTypeNodePort)
	asked.Spec.ClusterIP, asked.Spec.Ports[0].NodePort = "10.96.0.10", 30080
	if _, err := services.Create(ctx, asked, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*corev1.Service){
		"failed to allocate IP 10.96.0.10: provided IP is already allocated": func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.10" },
		"failed to allocate IP 10.96.0.1: provided IP is already allocated":  func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.1" },
		"Invalid value: 30080: provided port is already allocated":           func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 },
		"The range of valid ports is 30000-32767":                            func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 8080 },
		"the provided network does not match the current range":              func(s *corev1.Service) { s.Spec.ClusterIP = "192.168.0.1" },
	} {
		s := service("other", corev1.ServiceTypeNodePort)
		change(s)
		if _, err := services.Create(ctx, s, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	patch := func(p string) *corev1.Service {
		t.Helper()
		s, err := services.Patch(ctx, "asked", types.StrategicMergePatchType, []byte(p), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := patch(`{"spec":{"type":"ClusterIP"}}`); s.Spec.ClusterIP != "10.96.0.10" || s.Spec.Ports[0].NodePort != 0 {
		t.Errorf("%+v", s.Spec)
	}
	// The port is free again.
	other := service("other", corev1.ServiceTypeNodePort)
	other.Spec.Ports[0].NodePort = 30080
	if _, err := services.Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if s := patch(`{"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local"}}`); s.Spec.HealthCheckNodePort == 0 || s.Spec.Ports[0].NodePort == 0 {
		t.Errorf("%+v", s.Spec)
	}
	if s := patch(`{"spec":{"type":"ExternalName","externalName":"example.org"}}`); s.Spec.ClusterIP != "" || s.Spec.Ports[0].NodePort != 0 {
		t.Errorf("%+v", s.Spec)
	}
	headless := service("headless", corev1.ServiceTypeClusterIP)
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	if s, err := services.Create(ctx, headless, metav1.CreateOptions{}); err != nil || s.Spec.ClusterIPs[0] != "None" {
		t.Error(s, err)
	}
	if _, err := services.Update(ctx, func() *corev1.Service { s := service("other", corev1.ServiceTypeNodePort); return s }(), metav1.UpdateOptions{}); err != nil {
		t.Errorf("an update that names no addresses: %v", err)
	}
	if s, _ := services.Get(ctx, "other", metav1.GetOptions{}); s.Spec.Ports[0].NodePort != 30080 || s.Spec.ClusterIP == "" {
		t.Errorf("an update that names no addresses lost them: %+v", s.Spec)
	}
}

// TestKubernetesService is kept as the server wants it.
func TestKubernetesService(t *testing.T) {
	c := start(t)
	ctx, client := t.Context(), c.client()
	s, err := client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || s.Spec.ClusterIP != "10.96.0.1" || s.Spec.Ports[0].Name != "https" || s.Spec.Ports[0].TargetPort.IntValue() != 6443 {
		t.Fatal(s, err)
	}
	slice, err := client.DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || slice.Endpoints[0].Addresses[0] != "172.30.0.2" || *slice.Ports[0].Port != 6443 {
		t.Fatal(slice, err)
	}
	if _, err := client.CoreV1().Endpoints("default").Patch(ctx, "kubernetes", types.MergePatchType, []byte(`{"subsets":null}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Services("default").Delete(ctx, "kubernetes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.boot()
	client = c.client()
	if s, err = client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{}); err != nil || s.Spec.ClusterIP != "10.96.0.1" {
		t.Error(s, err)
	}
	ep, err := client.CoreV1().Endpoints("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || len(ep.Subsets) != 1 || ep.Subsets[0].Addresses[0].IP != "172.30.0.2" {
		t.Error(ep, err)
	}
}

// TestPublished: other servers find out by which CA clients are known, and machines that
// want to join where the cluster is. Only the server's key is the server's.
func TestPublished(t *testing.T) {
	c := start(t)
	for _, p := range []struct{ namespace, name, key, has string }{
		{"kube-system", "extension-apiserver-authentication", "client-ca-file", string(c.ca.PEM)},
		{"kube-public", "cluster-info", "kubeconfig", "server: https://172.30.0.2:6443"},
	} {
		maps := c.client().CoreV1().ConfigMaps(p.namespace)
		first, err := maps.Get(t.Context(), p.name, metav1.GetOptions{})
		if err != nil || !strings.Contains(first.Data[p.key], p.has) {
			t.Fatal(first, err)
		}
		if _, err := maps.Patch(t.Context(), p.name, types.MergePatchType, []byte(`{"data":{"`+p.key+`":"mine","x":"y"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		c.stop()
		c.boot()
		maps = c.client().CoreV1().ConfigMaps(p.namespace)
		if m, err := maps.Get(t.Context(), p.name, metav1.GetOptions{}); err != nil || m.Data[p.key] != first.Data[p.key] || m.Data["x"] != "y" {
			t.Error(m, err)
		}
	}
}
