package dns

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"orrery.example.org/apiserver"
	"orrery.example.org/pki"
)

// apiServer is our API server on an address that stays the same over restarts.
type apiServer struct {
	t       testing.TB
	ca      *pki.CA
	dir     string
	address string
}

func newAPIServer(t testing.TB) *apiServer {
	t.Helper()
	ca, err := pki.NewCA("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return &apiServer{t: t, ca: ca, dir: t.TempDir(), address: listener.Addr().String()}
}

func (a *apiServer) issue(r pki.Request) pki.Pair {
	a.t.Helper()
	pair, err := a.ca.Issue(r)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// boot starts the server and returns what ends it.
func (a *apiServer) boot() (stop func()) {
	a.t.Helper()
	cfg := apiserver.Defaults()
	cfg.BindAddress, cfg.AdvertiseAddress = a.address, "172.30.0.2:6443"
	cfg.Etcd.DataDir, cfg.Etcd.UnsafeNoFsync = a.dir, true
	cfg.CA = a.ca
	cfg.Serving = a.issue(pki.Request{User: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	cfg.KubeletClient = a.issue(pki.APIServerClient)
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.DisableAdmissionPlugins = []string{"ServiceAccount"} // no controller makes accounts
	server, err := apiserver.New(cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	select {
	case <-server.Ready():
	case err := <-done:
		a.t.Fatalf("the API server ended: %v", err)
	case <-time.After(patience):
		a.t.Fatal("the API server did not become ready")
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			a.t.Errorf("API server: %v", err)
		}
	}
}

// TestWithAPIServer takes a server through the life of the API it reads: not there yet,
// there, gone, and back.
func TestWithAPIServer(t *testing.T) {
	api := newAPIServer(t)
	cfg := testConfig()
	cfg.clientset = nil
	cfg.Client = pki.ClientConfig("https://"+api.address, api.ca, api.issue(pki.Admin))
	s, address := run(t, cfg)
	get := func(name string, qtype uint16) string { return summary(ask(t, "udp", address, name, qtype)) }
	client := kubernetes.NewForConfigOrDie(cfg.Client)

	if got := get("kubernetes.default.svc.cluster.local.", dns.TypeA); got != "SERVFAIL" {
		t.Fatalf("without an API: %s", got)
	}
	stop := api.boot()
	booted := time.Now()
	await(t, s.Ready())
	t.Logf("ready %v after the API", time.Since(booted))
	for _, test := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"kubernetes.default.svc.cluster.local.", dns.TypeA, "NOERROR 10.96.0.1"},
		{"_https._tcp.kubernetes.default.svc.cluster.local.", dns.TypeSRV, "NOERROR 0 100 443 kubernetes.default.svc.cluster.local."},
		{"172-30-0-2.kubernetes.default.svc.cluster.local.", dns.TypeA, "NOERROR 172.30.0.2"},
		{"1.0.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR kubernetes.default.svc.cluster.local."},
		{"2.0.30.172.in-addr.arpa.", dns.TypePTR, "NOERROR 172-30-0-2.kubernetes.default.svc.cluster.local."},
		{"web.default.svc.cluster.local.", dns.TypeA, "NXDOMAIN"},
	} {
		if got := get(test.name, test.qtype); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	ip := createService(t, client, "web")
	eventually(t, "the Service has a name", func() bool { return get("web.default.svc.cluster.local.", dns.TypeA) == "NOERROR "+ip })

	stop()
	if got := get("web.default.svc.cluster.local.", dns.TypeA); got != "NOERROR "+ip {
		t.Errorf("after the API has gone: %s", got)
	}
	stop = api.boot()
	defer stop()
	ip = createService(t, client, "later")
	eventually(t, "a Service of after the outage has a name", func() bool { return get("later.default.svc.cluster.local.", dns.TypeA) == "NOERROR "+ip })
	if err := client.CoreV1().Services("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deleted Service has none", func() bool { return get("web.default.svc.cluster.local.", dns.TypeA) == "NXDOMAIN" })
}

// createService creates a ClusterIP Service and returns its address.
func createService(t *testing.T, client kubernetes.Interface, name string) (ip string) {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metaOf("default", name)}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	var created *corev1.Service
	eventually(t, "Service "+name+" is created", func() bool {
		var err error
		created, err = client.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{})
		if err != nil && strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
		return err == nil
	})
	return created.Spec.ClusterIP
}
