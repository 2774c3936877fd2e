package dnsdiff

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/apiserver"
	"orrery.example.org/pki"
)

// patience bounds waits that end early when all is well.
const patience = time.Minute

// cluster is an API server with what the questions are about.
type cluster struct {
	config     *rest.Config
	kubeconfig string
	client     *kubernetes.Clientset
	services   []*corev1.Service
	slices     []*discoveryv1.EndpointSlice
}

// newCluster starts an API server, which ends with the test.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	ca, err := pki.NewCA("kubernetes")
	must(t, err)
	issue := func(r pki.Request) pki.Pair {
		pair, err := ca.Issue(r)
		must(t, err)
		return pair
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	cfg := apiserver.Defaults()
	cfg.BindAddress, cfg.AdvertiseAddress = "127.0.0.1:0", "172.30.0.2:6443"
	cfg.Listeners = []net.Listener{listener}
	cfg.ServiceCIDR = []string{"10.96.0.0/12", "fd00:10:96::/112"}
	cfg.Etcd.DataDir, cfg.Etcd.UnsafeNoFsync = t.TempDir(), true
	cfg.CA = ca
	cfg.Serving = issue(pki.Request{User: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	cfg.KubeletClient = issue(pki.APIServerClient)
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.DisableAdmissionPlugins = []string{"ServiceAccount"} // no controller makes accounts
	server, err := apiserver.New(cfg)
	must(t, err)
	runUntilCleanup(t, "API server", server.Run, server.Ready())

	c := &cluster{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	c.config = pki.ClientConfig("https://"+listener.Addr().String(), ca, issue(pki.Admin))
	c.config.QPS = -1
	must(t, pki.WriteKubeconfig(c.kubeconfig, "dnsdiff", c.config))
	c.client = kubernetes.NewForConfigOrDie(c.config)
	return c
}

// runUntilCleanup runs a component and waits until it is ready.
func runUntilCleanup(t testing.TB, what string, run func(context.Context) error, ready <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("%s ended: %v", what, err)
	case <-time.After(patience):
		t.Fatalf("%s did not become ready", what)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) namespace(t testing.TB, name string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := c.client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	must(t, err)
}

// service creates namespace/name. kind is its addresses, separated by commas, or None, or
// "CNAME name" for an external one; ports are name/protocol/number.
func (c *cluster) service(t testing.TB, key, kind string, ports ...string) {
	t.Helper()
	s := &corev1.Service{}
	s.Namespace, s.Name, _ = strings.Cut(key, "/")
	families := corev1.IPFamilyPolicyPreferDualStack
	if target, ok := strings.CutPrefix(kind, "CNAME "); ok {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, target
	} else {
		s.Spec.ClusterIPs = strings.Split(kind, ",")
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
		if kind == "None" || len(s.Spec.ClusterIPs) > 1 {
			s.Spec.IPFamilyPolicy = &families
		}
	}
	for _, p := range ports {
		name, protocol, number := parsePort(p)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name, Protocol: protocol, Port: number})
	}
	created, err := c.client.CoreV1().Services(s.Namespace).Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("Service %s: %v", key, err)
	}
	c.services = append(c.services, created)
}

// slice creates an EndpointSlice of a Service. Endpoints are "IP", "IP hostname", and may
// end in " notready", " terminating" or " unknown".
func (c *cluster) slice(t testing.TB, service, ports string, endpoints ...string) {
	t.Helper()
	es := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	es.Namespace, es.GenerateName, _ = strings.Cut(service, "/")
	es.Labels = map[string]string{discoveryv1.LabelServiceName: es.GenerateName}
	es.GenerateName += "-"
	for _, p := range strings.Fields(ports) {
		name, protocol, number := parsePort(p)
		es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number})
	}
	for _, text := range endpoints {
		words := strings.Fields(text)
		if strings.Contains(words[0], ":") {
			es.AddressType = discoveryv1.AddressTypeIPv6
		}
		es.Endpoints = append(es.Endpoints, endpoint(words))
	}
	created, err := c.client.DiscoveryV1().EndpointSlices(es.Namespace).Create(t.Context(), es, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("EndpointSlice of %s: %v", service, err)
	}
	c.slices = append(c.slices, created)
}

func endpoint(words []string) discoveryv1.Endpoint {
	yes, no := true, false
	ep := discoveryv1.Endpoint{Addresses: words[:1], Conditions: discoveryv1.EndpointConditions{Ready: &yes}}
	for _, word := range words[1:] {
		switch word {
		case "notready":
			ep.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &no}
		case "terminating":
			ep.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
		case "unknown":
			ep.Conditions.Ready = nil
		default:
			ep.Hostname = &word
		}
	}
	return ep
}

func parsePort(text string) (name string, protocol corev1.Protocol, number int32) {
	parts := strings.Split(text, "/")
	if _, err := fmt.Sscan(parts[2], &number); err != nil {
		panic(err)
	}
	return parts[0], corev1.Protocol(parts[1]), number
}

// pod creates a Pod with addresses, separated by commas, in a phase.
func (c *cluster) pod(t testing.TB, key, ips string, phase corev1.PodPhase) {
	t.Helper()
	p := &corev1.Pod{}
	p.Namespace, p.Name, _ = strings.Cut(key, "/")
	p.Spec.NodeName = "node1"
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "pause"}}
	created, err := c.client.CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{})
	must(t, err)
	created.Status.Phase = phase
	for _, ip := range strings.Split(ips, ",") {
		created.Status.PodIPs = append(created.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	created.Status.PodIP = created.Status.PodIPs[0].IP
	_, err = c.client.CoreV1().Pods(p.Namespace).UpdateStatus(t.Context(), created, metav1.UpdateOptions{})
	must(t, err)
}
