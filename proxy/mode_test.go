package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/ipvs"
)

// traces are what each mode leaves in a kernel, and how to see it.
var traces = map[string]struct{ command, pattern string }{
	ModeIPTables: {"iptables-save", "KUBE-EXTERNAL-SERVICES"},
	ModeNFTables: {"nft list tables", "kube-proxy"},
	ModeIPVS:     {"iptables-save", "KUBE-IPVS"},
}

// available are the modes that this kernel can be in. The virtual machine of
// scripts/test-ipvs has to know them all.
func available() []string {
	return slices.DeleteFunc(Modes(), func(mode string) bool {
		return mode == ModeIPVS && ipvs.Supported(nil) != nil && os.Getenv("ORRERY_IPVS") != "required"
	})
}

// onlyRulesOf fails the test where another mode has left something, or this one nothing.
func onlyRulesOf(t *testing.T, w *World, mode string) {
	t.Helper()
	for name, trace := range traces {
		args := strings.Fields(trace.command)
		out, err := w.Node.Command(context.Background(), args[0], args[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if there := strings.Contains(string(out), trace.pattern); there != (name == mode) {
			t.Errorf("mode %s: %s shows %s: %v", mode, trace.command, trace.pattern, there)
		}
	}
}

// A proxy of another mode takes over: its rules serve, those of the other are gone, and
// a connection that was there notices nothing (P40).
func TestP40RestartInAnotherMode(t *testing.T) {
	w := NewWorld(t)
	ln, err := w.Place("c").Listen(context.Background(), "tcp", ":9090")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	other := Service("ns1", "svc2", "10.96.0.42")
	client := fake.NewClientset(append(objects(Service("ns1", "svc1", "10.96.0.41"), "a"), other, Slice(other, 9090, Pods("c")...))...)
	run(t, w.Node, client).stop()
	conn := w.Hold(t, ln, "b", "10.96.0.42:80")
	for _, mode := range []string{ModeNFTables, ModeIPTables, ModeNFTables} {
		r := run(t, w.Node, client, func(c *Config) { c.Mode = mode })
		if got := reaches(w, "b", "10.96.0.41:80"); got != "a" {
			t.Errorf("%s: %s", mode, got)
		}
		onlyRulesOf(t, w, mode)
		conn.Alive(t, mode)
		r.stop()
	}
}

// A running proxy goes from mode to mode. Connections of every sort stay, new ones are
// never refused or lost, nothing is left of the former mode, and what changes afterwards
// is followed as ever (P40).
func TestP40SwitchRunning(t *testing.T) {
	w := NewWorld(t)
	ln, err := w.Place("c").Listen(context.Background(), "tcp", ":9090")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	svc := Service("ns1", "svc1", "10.96.0.41", NodePort(30080))
	long := Service("ns1", "long", "10.96.0.42", LoadBalancer(30081, "172.30.100.1"))
	// With nftables NodePorts answer on the node's primary address alone, so it must be known.
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Here},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: NodeIP}}}}
	r := run(t, w.Node, fake.NewClientset(append(objects(svc, "ac"), long, Slice(long, 9090, Pods("c")...), node)...))
	conns := []Held{
		w.Hold(t, ln, "b", "10.96.0.42:80"), w.Hold(t, ln, "node", "10.96.0.42:80"), // source kept, the node's own
		w.Hold(t, ln, "outside", NodeIP+":30081"), w.Hold(t, ln, "outside", "172.30.100.1:80"), // masqueraded
		w.Hold(t, ln, "node", "127.0.0.1:30081"),
	}
	if _, err := r.client.CoreV1().Services("ns1").Create(t.Context(), Service("ns1", "late", "10.96.0.43"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	answer := "a"
	order := []string{ModeNFTables, ModeIPTables, ModeNFTables, ModeNFTables, ModeIPTables}
	if slices.Contains(available(), ModeIPVS) {
		order = []string{ModeIPVS, ModeNFTables, ModeIPVS, ModeIPTables}
	}
	for _, mode := range order {
		stop := connectAllTheTime(t, w, Flow{From: "b", To: "10.96.0.41:80"}, Flow{From: "outside", To: NodeIP + ":30080"}, Flow{From: "node", To: "10.96.0.41:80"})
		if err := r.SetMode(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		stop()
		onlyRulesOf(t, w, mode)
		if _, body := get(t, w.Node, "http://127.0.0.1:10249/proxyMode"); body != mode {
			t.Errorf("/proxyMode says %s, want %s", body, mode)
		}
		conns = append(conns, w.Hold(t, ln, "b", "10.96.0.42:80")) // and made in every mode
		for _, c := range conns {
			c.Alive(t, "in mode "+mode)
		}
		slice := Slice(Service("ns1", "late", "10.96.0.43"), Port, Pods(answer)...)
		if _, err := r.client.DiscoveryV1().EndpointSlices("ns1").Update(t.Context(), slice, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
			_, err = r.client.DiscoveryV1().EndpointSlices("ns1").Create(t.Context(), slice, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "a change after the switch to "+mode, func() bool { return reaches(w, "b", "10.96.0.43:80") == answer })
		answer = map[string]string{"a": "c", "c": "a"}[answer]
	}
}

// connectAllTheTime makes connections until stop is called. Each has to be answered.
func connectAllTheTime(t *testing.T, w *World, flows ...Flow) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	counts := make([]int, len(flows))
	for i, f := range flows {
		wg.Go(func() {
			for ctx.Err() == nil || counts[i] == 0 {
				if _, _, err := w.Ask(f, soon); err != nil {
					t.Errorf("during the switch, connection %d of %v: %v", counts[i], f, err)
					return
				}
				counts[i]++
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
		t.Logf("connections during the switch: %v", counts)
	}
}

// Where the other mode cannot be, the proxy stays in its own, and says why.
func TestP40SwitchFails(t *testing.T) {
	w := NewWorld(t)
	svc := Service("ns1", "svc1", "10.96.0.41")
	r := run(t, w.Node, fake.NewClientset(objects(svc, "a")...), func(c *Config) { c.Mode, c.IPTablesVariant = ModeNFTables, "missing" })
	if err := r.SetMode(t.Context(), ModeIPTables); err == nil || !strings.Contains(err.Error(), "apt install iptables") {
		t.Errorf("a mode without its program: %v", err)
	}
	if err := r.SetMode(t.Context(), "userspace"); err == nil || !strings.Contains(err.Error(), "there are: "+strings.Join(Modes(), ", ")) {
		t.Errorf("an unknown mode: %v", err)
	}
	if got := r.Mode(); got != ModeNFTables {
		t.Errorf("mode %s after a failed switch", got)
	}
	onlyRulesOf(t, w, ModeNFTables)
	if _, err := r.client.DiscoveryV1().EndpointSlices("ns1").Update(t.Context(), Slice(svc, Port, Pods("c")...), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "changes are followed as before", func() bool { return reaches(w, "b", "10.96.0.41:80") == "c" })
	r.stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.SetMode(ctx, ModeIPTables); err == nil {
		t.Error("a stopped proxy changed its mode")
	}
}

// Whoever flushes the rules finds them restored, in the mode nftables too (P48).
func TestP48RepairNFTables(t *testing.T) {
	w := NewWorld(t)
	run(t, w.Node, fake.NewClientset(objects(Service("ns1", "svc1", "10.96.0.41"), "a")...),
		func(c *Config) { c.Mode, c.SyncPeriod = ModeNFTables, 50*time.Millisecond })
	for _, damage := range []string{"flush ruleset", "flush chain ip kube-proxy services", "flush map ip kube-proxy service-ips"} {
		if _, err := w.Node.Command(context.Background(), "nft", strings.Fields(damage)...).Output(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "repaired after "+damage, func() bool { return reaches(w, "b", "10.96.0.41:80") == "a" })
	}
}

// How long a running proxy takes to go over to another mode, by the number of Services
// with five endpoints each: the new mode's rules from nothing, and the end of the old ones.
func BenchmarkSetMode(b *testing.B) {
	Namespaces(b)
	for _, n := range []int{100, 1000} {
		var all []runtime.Object
		for i := range n {
			svc := Numbered(i)
			all = append(all, svc, Slice(svc, Port, Endpoints(i, 5)...))
		}
		for _, to := range []string{ModeIPTables, ModeNFTables} {
			b.Run(fmt.Sprintf("%s-%d", to, n), func(b *testing.B) {
				r := run(b, NewPlace(b, "node"), fake.NewClientset(all...), func(c *Config) { c.Log = slog.New(slog.DiscardHandler) })
				other := map[string]string{ModeIPTables: ModeNFTables, ModeNFTables: ModeIPTables}[to]
				for b.Loop() {
					b.StopTimer()
					err := r.SetMode(b.Context(), other)
					b.StartTimer()
					if err = errors.Join(err, r.SetMode(b.Context(), to)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
