package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
)

func TestMain(m *testing.M) { Main(m) }

const soon = time.Minute // how long anything may take before a test gives up

// running is a Proxy at work on the node of a world.
type running struct {
	*Proxy
	client kubernetes.Interface
	ended  chan error // what Run returned
	stop   func()     // ends Run and fails the test if it returned an error
}

// prepare makes a Proxy for a node. Nothing runs yet.
func prepare(t testing.TB, h *host.Host, client kubernetes.Interface, tweaks ...func(*Config)) *Proxy {
	t.Helper()
	cfg := Defaults()
	cfg.NodeName, cfg.Host = Here, h
	cfg.Log = slog.New(slog.NewTextHandler(testLog{t}, nil))
	for _, tweak := range tweaks {
		tweak(&cfg)
	}
	p, err := newProxy(cfg, client)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// begin starts one, which ends with the test at the latest.
func begin(t testing.TB, h *host.Host, client kubernetes.Interface, tweaks ...func(*Config)) *running {
	t.Helper()
	p := prepare(t, h, client, tweaks...)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stopped := false
	r := &running{Proxy: p, client: client, ended: ended, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}}
	t.Cleanup(r.stop)
	return r
}

// run starts one and waits until it is ready.
func run(t testing.TB, h *host.Host, client kubernetes.Interface, tweaks ...func(*Config)) *running {
	t.Helper()
	r := begin(t, h, client, tweaks...)
	select {
	case <-r.Ready():
	case err := <-r.ended:
		r.ended <- nil // for stop
		t.Fatalf("Run: %v", err)
	case <-time.After(soon):
		t.Fatal("not ready")
	}
	return r
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// eventually tries until ok, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reaches tells which Pod answers, or what happens instead.
func reaches(w *World, from, to string) string {
	name, _, err := w.Connect(Flow{From: from, To: to})
	switch {
	case err == nil:
		return name
	case strings.Contains(err.Error(), "refused"):
		return "refused"
	}
	return "nothing"
}

func objects(svc *corev1.Service, pods string) []runtime.Object {
	return []runtime.Object{svc, Slice(svc, Port, Pods(pods)...)}
}

// A Service and its endpoints come, change and go, and packets follow (P2, P5).
func TestP2P5ServiceLife(t *testing.T) {
	w := NewWorld(t)
	ctx := context.Background()
	svc := Service("ns1", "svc1", "10.96.0.41")
	r := run(t, w.Node, fake.NewClientset(objects(svc, "a")...))
	if got := reaches(w, "b", "10.96.0.41:80"); got != "a" {
		t.Fatalf("when ready: %s", got)
	}
	slices := r.client.DiscoveryV1().EndpointSlices("ns1")
	services := r.client.CoreV1().Services("ns1")
	step := func(what, want string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, what, func() bool { return reaches(w, "b", "10.96.0.41:80") == want })
	}
	_, err := slices.Update(ctx, Slice(svc, Port, Pods("c")...), metav1.UpdateOptions{})
	step("answered by the other endpoint", "c", err)
	_, err = slices.Update(ctx, Slice(svc, Port), metav1.UpdateOptions{})
	step("refused without endpoints", "refused", err)
	second := Slice(svc, Port, Pods("a")...)
	second.Name = "svc1-2"
	_, err = slices.Create(ctx, second, metav1.CreateOptions{})
	step("answered by way of another slice", "a", err)
	step("gone", "nothing", services.Delete(ctx, "svc1", metav1.DeleteOptions{}))
	_, err = services.Create(ctx, svc, metav1.CreateOptions{})
	step("back again", "a", err)
	ported := Service("ns1", "svc1", "10.96.0.41", NodePort(30080))
	ported.Spec.Ports[0].Port = 81
	_, err = services.Update(ctx, ported, metav1.UpdateOptions{})
	step("port changed", "nothing", err)
	eventually(t, "new port and NodePort", func() bool {
		return reaches(w, "b", "10.96.0.41:81") == "a" && reaches(w, "outside", NodeIP+":30080") == "a"
	})
}

// What a selector keeps out is not programmed even if it arrives (P1).
func TestP1Ignored(t *testing.T) {
	w := NewWorld(t)
	other := Service("ns1", "other", "10.96.0.42", func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	})
	run(t, w.Node, fake.NewClientset(append(objects(other, "a"), objects(Service("ns1", "svc1", "10.96.0.41"), "a")...)...))
	if got := reaches(w, "b", "10.96.0.41:80"); got != "a" {
		t.Errorf("ours: %s", got)
	}
	if got := reaches(w, "b", "10.96.0.42:80"); got != "nothing" {
		t.Errorf("another proxy's: %s", got)
	}
}

// Rules stay when the proxy stops, and go if the Config says so. A new proxy takes over
// what is there, stale Services included.
func TestStopAndRestart(t *testing.T) {
	w := NewWorld(t)
	one, two := Service("ns1", "svc1", "10.96.0.41"), Service("ns1", "svc2", "10.96.0.42")
	r := run(t, w.Node, fake.NewClientset(append(objects(one, "a"), objects(two, "a")...)...))
	r.stop()
	if got := reaches(w, "b", "10.96.0.42:80"); got != "a" {
		t.Errorf("without a proxy: %s", got)
	}
	r = run(t, w.Node, fake.NewClientset(objects(one, "c")...), func(c *Config) { c.CleanupOnExit = true })
	if got := reaches(w, "b", "10.96.0.41:80"); got != "c" {
		t.Errorf("after restart: %s", got)
	}
	if got := reaches(w, "b", "10.96.0.42:80"); got != "nothing" {
		t.Errorf("a Service deleted meanwhile: %s", got)
	}
	r.stop()
	out, err := w.Node.Command(context.Background(), "iptables-save").Output()
	if err != nil || bytes.Contains(out, []byte("KUBE-")) {
		t.Errorf("after cleanup, error %v:\n%s", err, out)
	}
}

// Whoever flushes the rules finds them restored (P48).
func TestP48Repair(t *testing.T) {
	w := NewWorld(t)
	run(t, w.Node, fake.NewClientset(objects(Service("ns1", "svc1", "10.96.0.41"), "a")...),
		func(c *Config) { c.SyncPeriod = 50 * time.Millisecond })
	for _, flush := range []string{"-F", "-F KUBE-SERVICES", "-D PREROUTING 1"} {
		args := append([]string{"-t", "nat"}, strings.Fields(flush)...)
		if _, err := w.Node.Command(context.Background(), "iptables", args...).Output(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "repaired after "+flush, func() bool { return reaches(w, "b", "10.96.0.41:80") == "a" })
	}
}

// A burst of changes does not queue up: the last one is soon in the kernel.
func TestBurst(t *testing.T) {
	w := NewWorld(t)
	client := fake.NewClientset()
	r := run(t, w.Node, client)
	ctx := context.Background()
	for i := range 200 {
		svc := Service("ns1", fmt.Sprintf("svc%d", i), fmt.Sprintf("10.96.1.%d", i+1))
		if _, err := client.CoreV1().Services("ns1").Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.DiscoveryV1().EndpointSlices("ns1").Create(ctx, Slice(svc, Port, Pods("a")...), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the last Service answers", func() bool { return reaches(w, "b", "10.96.1.200:80") == "a" })
	if got := reaches(w, "b", "10.96.1.1:80"); got != "a" {
		t.Errorf("the first Service: %s", got)
	}
	syncs := r.scrape(t, "kubeproxy_sync_proxy_rules_duration_seconds_count")
	t.Logf("400 events, syncs: %s", syncs)
}

// Without the program the error says what to install, and Run ends with it.
func TestMissingIptables(t *testing.T) {
	Namespaces(t)
	h := NewPlace(t, "node")
	cfg := Defaults()
	cfg.NodeName, cfg.Host, cfg.IPTablesVariant = Here, h, "missing"
	p, err := newProxy(cfg, fake.NewClientset())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "apt install iptables") {
		t.Errorf("Run: %v", err)
	}
}

// Stale UDP flows go when endpoints do (P36): a client that keeps its socket must not
// talk to a Pod that is gone, nor into the void because it began too early.
func TestP36StaleUDP(t *testing.T) {
	for _, mode := range available() {
		t.Run(mode, func(t *testing.T) { staleUDP(t, mode) })
	}
}

func staleUDP(t *testing.T, mode string) {
	w := NewWorld(t)
	ctx := context.Background()
	svc := Service("ns1", "svc1", "10.96.0.41", Protocol(corev1.ProtocolUDP))
	r := run(t, w.Node, fake.NewClientset(), func(c *Config) { c.Mode = mode })
	conn, err := w.Dial("b", "udp", "10.96.0.41:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func() string { // on the same socket, so on the same flow
		_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		buf := make([]byte, 64)
		if _, err := conn.Write([]byte("?")); err != nil {
			return ""
		}
		n, err := conn.Read(buf)
		if err != nil {
			return ""
		}
		name, _, _ := strings.Cut(string(buf[:n]), " ")
		return name
	}
	if got := ask(); got != "" {
		t.Fatalf("answered by %q before there was a Service", got)
	}
	slices := r.client.DiscoveryV1().EndpointSlices("ns1")
	if _, err := r.client.CoreV1().Services("ns1").Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := slices.Create(ctx, Slice(svc, Port, Pods("a")...), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a answers", func() bool { return ask() == "a" })
	if _, err := slices.Update(ctx, Slice(svc, Port, Pods("c")...), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "c answers the same socket", func() bool { return ask() == "c" })
}

// scrape reads a metric of the running proxy from inside its node.
func (r *running) scrape(t *testing.T, name string) string {
	t.Helper()
	_, body := get(t, r.cfg.Host, "http://127.0.0.1:10249/metrics")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, name) {
			return strings.TrimSpace(line)
		}
	}
	t.Errorf("no metric %s", name)
	return ""
}

// get asks a server in a place.
func get(t *testing.T, h *host.Host, url string) (code int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}, Timeout: soon}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// The ports that load balancers, Prometheus and people ask (P30, P50, P51).
func TestP30P50P51Ports(t *testing.T) {
	w := NewWorld(t)
	ctx := context.Background()
	svc := Service("ns1", "svc1", "10.96.0.41", LoadBalancer(30080, "172.30.100.1"), ExternalLocal(30999))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Here}}
	r := run(t, w.Node, fake.NewClientset(append(objects(svc, "ac"), node)...))
	expect := func(place, url string, code int, contains string) {
		t.Helper()
		if got, body := get(t, w.Place(place), url); got != code || !strings.Contains(body, contains) {
			t.Errorf("%s from %s: %d %q, want %d and %q", url, place, got, body, code, contains)
		}
	}
	expect("outside", "http://"+NodeIP+":10256/healthz", 200, `"nodeEligible":true`)
	expect("outside", "http://"+NodeIP+":10256/livez", 200, `"healthy":true`)
	expect("outside", "http://"+NodeIP+":30999/", 200, `"localEndpoints":1`)
	expect("node", "http://127.0.0.1:10249/proxyMode", 200, "iptables")
	for _, m := range []string{
		"kubeproxy_sync_full_proxy_rules_duration_seconds_count", `kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv4",table="nat"} 20`,
		"kubeproxy_sync_proxy_rules_last_timestamp_seconds", "kubeproxy_proxy_healthz_total",
	} {
		r.scrape(t, m)
	}
	if _, err := r.client.DiscoveryV1().EndpointSlices("ns1").Update(ctx, Slice(svc, Port, Pods("c")...), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no local endpoints", func() bool {
		code, body := get(t, w.Place("outside"), "http://"+NodeIP+":30999/")
		return code == 503 && strings.Contains(body, `"localEndpoints":0`)
	})
	node.Spec.Taints = []corev1.Taint{{Key: toBeDeleted}}
	node.ResourceVersion = "2"
	if _, err := r.client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is leaving", func() bool {
		code, _ := get(t, w.Place("outside"), "http://"+NodeIP+":10256/healthz")
		return code == 503
	})
	expect("outside", "http://"+NodeIP+":10256/livez", 200, `"healthy":true`)
	if err := r.client.CoreV1().Services("ns1").Delete(ctx, "svc1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the health check port is closed", func() bool {
		_, body := get(t, w.Place("outside"), "http://"+NodeIP+":30999/")
		return strings.Contains(body, "refused")
	})
}

// A changed zone of the node is a new plan for every Service (P26).
func TestP26ZoneChange(t *testing.T) {
	w := NewWorld(t)
	svc := Service("ns1", "svc1", "10.96.0.41")
	slice := Slice(svc, Port, Pods("ac")...)
	for i, zone := range []string{"east", "west"} {
		slice.Endpoints[i].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Here, ResourceVersion: "1", Labels: map[string]string{corev1.LabelTopologyZone: "east"}}}
	r := run(t, w.Node, fake.NewClientset(svc, slice, node))
	w.Check(t, Flow{From: "b", To: "10.96.0.41:80", Want: Kept("a")})
	node = node.DeepCopy()
	node.ResourceVersion, node.Labels[corev1.LabelTopologyZone] = "2", "west"
	if _, err := r.client.CoreV1().Nodes().Update(context.Background(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other zone's endpoint", func() bool { return reaches(w, "b", "10.96.0.41:80") == "c" })
	w.Check(t, Flow{From: "b", To: "10.96.0.41:80", Want: Kept("c")})
}

// In a user namespace all of it works as well.
func TestAsUser(t *testing.T) {
	AsUser(t, "^(TestP2P5ServiceLife|TestStopAndRestart|TestP36StaleUDP|TestP30P50P51Ports|TestP40SwitchRunning)$")
}

func TestValidate(t *testing.T) {
	cfg := Defaults()
	cfg.Mode, cfg.MasqueradeBit, cfg.ClusterCIDR, cfg.NodePortAddresses = "userspace", 40, "10.244.0.0", []string{"eth0"}
	err := cfg.validate()
	for _, want := range []string{"node-name is missing", `mode "userspace" is unknown`, "masquerade-bit 40", "cluster-cidr", "nodeport-addresses"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	good := Defaults()
	good.NodeName = "node1"
	if err := good.validate(); err != nil {
		t.Error(err)
	}
}
