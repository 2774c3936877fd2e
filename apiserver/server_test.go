package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/apiserver/etcd"
	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// cluster is a running API server under test, with its etcd in a directory of its own.
type cluster struct {
	t    *testing.T
	ca   *pki.CA
	dir  string
	port string

	url    string
	admin  *rest.Config
	server *Server
	done   chan error // what Run returns
	stop   func()

	tune func(*Server) // before Run; may be nil
}

// start runs a server on a free port of 127.0.0.1 until the test ends.
func start(t *testing.T, change ...func(*Config)) *cluster {
	t.Helper()
	ca, err := pki.NewCA("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, ca: ca, dir: t.TempDir(), port: "0", stop: func() {}}
	c.boot(change...)
	t.Cleanup(func() { c.stop() })
	return c
}

// boot starts the server; after stop it starts it again on the same data and port.
func (c *cluster) boot(change ...func(*Config)) {
	t := c.t
	t.Helper()
	ln, err := (*host.Host)(nil).Listen(context.Background(), "tcp", "127.0.0.1:"+c.port)
	if err != nil {
		t.Fatal(err)
	}
	_, c.port, _ = net.SplitHostPort(ln.Addr().String())
	cfg := Config{
		Listeners:        []net.Listener{ln},
		AdvertiseAddress: "172.30.0.2:6443",
		Etcd:             etcd.Config{DataDir: c.dir, UnsafeNoFsync: true},
		CA:               c.ca,
		Serving:          c.issue(pki.Request{User: "kube-apiserver", DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}),
		Log:              testLog(),

		AuthorizationMode:       []string{"RBAC"},
		DisableAdmissionPlugins: []string{"ServiceAccount"}, // no controller makes accounts here
	}
	cfg.KubeletClient = c.issue(pki.APIServerClient)
	for _, f := range change {
		f(&cfg)
	}
	if c.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if c.tune != nil {
		c.tune(c.server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	c.done = done
	go func() { done <- c.server.Run(ctx) }()
	select {
	case <-c.server.Ready():
	case err := <-done:
		t.Fatalf("the server ended before it was ready: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not get ready")
	}
	c.url = "https://127.0.0.1:" + c.port
	c.admin = pki.ClientConfig(c.url, c.ca, c.issue(pki.Admin))
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		c.stop = func() {}
	}
}

func testLog() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("ORRERY_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func (c *cluster) issue(r pki.Request) pki.Pair {
	c.t.Helper()
	p, err := c.ca.Issue(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *cluster) client() *kubernetes.Clientset { return kubernetes.NewForConfigOrDie(c.admin) }

func (c *cluster) protobuf() *kubernetes.Clientset {
	cfg := rest.CopyConfig(c.admin)
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfigOrDie(cfg)
}

func (c *cluster) dynamic() dynamic.Interface { return dynamic.NewForConfigOrDie(c.admin) }

// http is a plain client with the admin's certificate.
func (c *cluster) http() *http.Client {
	c.t.Helper()
	client, err := rest.HTTPClientFor(c.admin)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// eventually waits for a condition that the server brings about on its own.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func expect(what string, got, want any) error {
	if got != want {
		return fmt.Errorf("%s is %v, not %v", what, got, want)
	}
	return nil
}

// TestPassing: what another server, or an election, brings about is tried again; what
// will not get better by itself is not.
func TestPassing(t *testing.T) {
	gr := schema.GroupResource{Resource: "namespaces"}
	for _, row := range []struct {
		err  error
		want bool
	}{
		{apierrors.NewConflict(gr, "a", errors.New("changed")), true},
		{fmt.Errorf("make a: %w", apierrors.NewServiceUnavailable("no leader")), true},
		{apierrors.NewTimeoutError("no answer", 1), true},
		{apierrors.NewForbidden(gr, "a", nil), false},
		{apierrors.NewInvalid(schema.GroupKind{}, "a", nil), false},
		{errors.New("no space"), false},
	} {
		if got := passing(row.err); got != row.want {
			t.Errorf("%v: %v", row.err, got)
		}
	}
}
