package apidiff

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orrery.example.org/apiserver"
	"orrery.example.org/apiserver/etcd"
	"orrery.example.org/pki"
)

// server is an API server that listens on 127.0.0.1.
type server struct {
	url     string
	ca      *pki.CA
	clients map[string]*http.Client // by user
}

// Both servers are configured alike: as kubeadm does it, with two families of addresses.
var (
	serviceCIDRs = []string{"10.96.0.0/12", "fd00:10:96::/112"}
	servingNames = pki.Request{User: "kube-apiserver", DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
)

const advertised = "172.30.0.2"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newServer(t *testing.T) *server {
	ca, err := pki.NewCA("kubernetes")
	must(t, err)
	return &server{ca: ca, clients: map[string]*http.Client{}}
}

func (s *server) issue(t *testing.T, r pki.Request) pki.Pair {
	pair, err := s.ca.Issue(r)
	must(t, err)
	return pair
}

// client shows a user's certificate: an administrator's, that of a "user/group", or none
// ("anonymous").
func (s *server) client(t *testing.T, user string) *http.Client {
	if client := s.clients[user]; client != nil {
		return client
	}
	config := &tls.Config{RootCAs: s.ca.Pool()}
	if user != "anonymous" {
		who := pki.Admin
		if name, group, ok := strings.Cut(user, "/"); ok {
			who = pki.Request{User: name, Groups: []string{group}}
		} else if user != "" {
			who = pki.Request{User: user}
		}
		cert, err := s.issue(t, who).TLS()
		must(t, err)
		config.Certificates = []tls.Certificate{cert}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableCompression: true, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	s.clients[user] = &http.Client{Transport: transport}
	return s.clients[user]
}

// startOurs serves until the test ends.
func startOurs(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.url = "https://" + ln.Addr().String()
	ours, err := apiserver.New(apiserver.Config{
		Listeners:        []net.Listener{ln},
		AdvertiseAddress: advertised + ":6443",
		ServiceCIDR:      serviceCIDRs,
		Etcd:             etcd.Config{DataDir: t.TempDir(), UnsafeNoFsync: true},
		CA:               s.ca,
		Serving:          s.issue(t, servingNames),
		KubeletClient:    s.issue(t, pki.APIServerClient),
		Log:              slog.New(slog.DiscardHandler),

		AuthorizationMode: []string{"Node", "RBAC"},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ours.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("our API server: %v", err)
		}
	})
	select {
	case <-ours.Ready():
	case <-time.After(time.Minute):
		t.Fatal("our API server does not get ready")
	}
	waitForSchema(t, s)
	return s
}

// waitForSchema waits until writes get managedFields, which our server does not hold
// its start up for.
func waitForSchema(t *testing.T, s *server) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		resp, err := s.client(t, "").Post(s.url+"/api/v1/namespaces?dryRun=All", jsonType, strings.NewReader(`{"metadata":{"name":"x"}}`))
		must(t, err)
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		must(t, err)
		if strings.Contains(string(data), "managedFields") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no managedFields: %s", data)
		}
	}
}

// startTheirs runs the real one, which scripts/record-apidiff has built, until the test ends.
func startTheirs(t *testing.T, program string) *server {
	t.Helper()
	s := newServer(t)
	dir, err := os.MkdirTemp("", "apidiff") // short: etcd's sockets are in it
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, s.issue(t, servingNames).Write(dir, "serving"))
	must(t, s.issue(t, pki.APIServerClient).Write(dir, "kubelet"))
	must(t, s.issue(t, pki.Request{User: "service-accounts"}).Write(dir, "sa"))
	must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), s.ca.PEM, 0o600))

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	must(t, ln.Close())
	s.url = fmt.Sprintf("https://127.0.0.1:%d", port)
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	defer log.Close()
	cmd := exec.Command(program, append([]string{dir}, flags(dir, port)...)...)
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	output := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text[max(0, len(text)-4000):])
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := s.client(t, "").Get(s.url + "/readyz"); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("kube-apiserver ended: %v\n%s", err, output())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("kube-apiserver does not get ready:\n%s", output())
		}
	}
}

func flags(dir string, port int) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	return []string{
		"--bind-address=127.0.0.1", "--advertise-address=" + advertised, fmt.Sprintf("--secure-port=%d", port),
		"--service-cluster-ip-range=" + strings.Join(serviceCIDRs, ","),
		"--client-ca-file=" + in("ca.crt"),
		"--tls-cert-file=" + in("serving.crt"), "--tls-private-key-file=" + in("serving.key"),
		"--kubelet-client-certificate=" + in("kubelet.crt"), "--kubelet-client-key=" + in("kubelet.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + in("sa.crt"), "--service-account-signing-key-file=" + in("sa.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true", "--allow-privileged=true",
	}
}
