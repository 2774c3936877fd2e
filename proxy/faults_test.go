package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// What can go wrong around a proxy, and what the kernel holds afterwards: the plan.

// holdsThePlan stops a Proxy and compares what it left in the kernel with what it planned.
func (r *running) holdsThePlan(t *testing.T) {
	t.Helper()
	r.stop()
	for _, f := range r.families {
		wrong, err := f.backend.(interface {
			Check(context.Context, plan.Snapshot) ([]string, error)
		}).Check(context.Background(), r.snapshot(f))
		if err != nil || len(wrong) > 0 {
			t.Errorf("%s, %s: would have to write %q, error %v", f.mode.name, f.name, wrong, err)
		}
	}
}

// inBothModes runs a test for each data plane that every kernel has.
func inBothModes(t *testing.T, test func(t *testing.T, inMode func(*Config))) {
	for _, mode := range []string{ModeIPTables, ModeNFTables} {
		t.Run(mode, func(t *testing.T) { test(t, func(c *Config) { c.Mode = mode }) })
	}
}

// Services that contradict each other or themselves, as no validation would let them in
// all at once: each address that several want leads to one of them, and to the other when
// that one goes. The rest of them works, and so do all others.
func TestContradictions(t *testing.T) {
	inBothModes(t, func(t *testing.T, inMode func(*Config)) {
		w := NewWorld(t)
		first := Service("ns1", "first", "10.96.0.41", LoadBalancer(30081, "172.30.100.1"), ExternalIPs("172.30.100.9", "172.30.100.9", "nonsense", "010.0.0.08"))
		second := Service("ns1", "second", "10.96.0.42", LoadBalancer(30081, "172.30.100.1"), ExternalIPs("172.30.100.9"), SourceRanges("0.0.0.0/0", "172.30.0.0/33", " 172.30.0.0/24 "))
		third := Service("ns1", "third", "10.96.0.41", ExternalIPs("10.96.0.42")) // the ClusterIPs of both
		good := Service("ns1", "good", "10.96.0.44")
		client := fake.NewClientset()
		r := run(t, w.Node, client, inMode)
		create(t, r, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Here},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: NodeIP}}}})
		create(t, r, objects(second, "c")...)
		create(t, r, objects(third, "c")...)
		create(t, r, objects(first, "a")...)
		create(t, r, objects(good, "b")...)
		expect := func(from, to, want string) {
			t.Helper()
			eventually(t, fmt.Sprintf("%s to %s: %s", from, to, want), func() bool { return strings.Contains(want, reaches(w, from, to)) })
		}
		contested := []string{"172.30.100.9:80", "172.30.100.1:80", NodeIP + ":30081", "10.96.0.41:80"}
		expect("b", "10.96.0.44:80", "b")
		expect("a", "10.96.0.42:80", "c")
		for _, to := range contested {
			expect("outside", to, "a or c")
		}
		if err := client.CoreV1().Services("ns1").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, to := range contested {
			expect("outside", to, "c")
		}
		create(t, r, objects(Service("ns1", "last", "10.96.0.45"), "b")...)
		expect("a", "10.96.0.45:80", "b") // and so all that was before is in the kernel
		r.holdsThePlan(t)
	})
}

func create(t *testing.T, r *running, objects ...runtime.Object) {
	t.Helper()
	tracker := r.client.(*fake.Clientset).Tracker()
	for _, o := range objects {
		if err := tracker.Add(o); err != nil {
			t.Fatal(err)
		}
	}
}

// A proxy that ends at any moment, whatever it was about to tell the kernel, leaves
// connections alone and its successor enough to go on from.
func TestEndsInTheMiddle(t *testing.T) {
	inBothModes(t, func(t *testing.T, inMode func(*Config)) {
		w := NewWorld(t)
		ln, err := w.Place("c").Listen(t.Context(), "tcp", ":9090")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		long := Service("ns1", "long", "10.96.0.42")
		all := append(objects(Service("ns1", "svc1", "10.96.0.41"), "a"), long, Slice(long, 9090, Pods("c")...))
		for i := range 200 {
			all = append(all, objects(Service("ns1", fmt.Sprint("many", i), fmt.Sprintf("10.96.1.%d", i+1)), "ac")...)
		}
		run(t, w.Node, fake.NewClientset(all...), inMode).stop()
		conn := w.Hold(t, ln, "b", "10.96.0.42:80")
		for range 10 {
			// What the next one knows differs in many Services.
			keep := all[:4]
			for i := 4; i < len(all); i += 2 {
				if rand.IntN(2) == 0 {
					keep = append(keep[:len(keep):len(keep)], all[i:i+2]...)
				}
			}
			p := prepare(t, w.Node, fake.NewClientset(keep...), inMode)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(300))*time.Millisecond)
			if err := p.Run(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
			if got := reaches(w, "b", "10.96.0.41:80"); got != "a" {
				t.Errorf("a Service that did not change: %s", got)
			}
			conn.Alive(t, "after a proxy that ended in the middle")
		}
		r := run(t, w.Node, fake.NewClientset(all...), inMode)
		for _, ip := range []string{"10.96.1.1", "10.96.1.200"} {
			if got := reaches(w, "b", ip+":80"); got != "a" && got != "c" {
				t.Errorf("%s: %s", ip, got)
			}
		}
		r.holdsThePlan(t)
	})
}

// Rules that somebody edits rather than flushes are put right too, and what he adds to
// our chains goes.
func TestEditedRules(t *testing.T) {
	edits := map[string][]string{
		ModeIPTables: {"iptables -t nat -D KUBE-SERVICES 1", "iptables -t nat -I KUBE-SERVICES -j RETURN", "iptables -t nat -P PREROUTING ACCEPT", "iptables -t filter -I KUBE-FORWARD -j DROP"},
		ModeNFTables: {"nft delete element ip kube-proxy service-ips { 10.96.0.41 . tcp . 80 }", "nft add rule ip kube-proxy nat-prerouting drop", "nft flush chain ip kube-proxy nat-output", "nft flush table ip kube-proxy"},
	}
	inBothModes(t, func(t *testing.T, inMode func(*Config)) {
		w := NewWorld(t)
		r := run(t, w.Node, fake.NewClientset(objects(Service("ns1", "svc1", "10.96.0.41"), "a")...), inMode,
			func(c *Config) { c.SyncPeriod = 50 * time.Millisecond })
		for _, edit := range edits[r.cfg.Mode] {
			args := strings.Fields(edit)
			if out, err := w.Node.Command(t.Context(), args[0], args[1:]...).Output(); err != nil && !strings.Contains(edit, "delete element") {
				t.Fatalf("%s: %v %s", edit, err, out)
			}
			eventually(t, "repaired after "+edit, func() bool {
				return reaches(w, "b", "10.96.0.41:80") == "a" && reaches(w, "node", "10.96.0.41:80") == "a"
			})
		}
		r.stop()
		run(t, w.Node, r.client, inMode).holdsThePlan(t)
	})
}

// A program that fails once, or waits for another's lock, is tried again, and the proxy
// tells /healthz and the metrics meanwhile.
func TestProgramFailsOnce(t *testing.T) {
	w := NewWorld(t)
	svc := Service("ns1", "svc1", "10.96.0.41")
	r := run(t, w.Node, fake.NewClientset(objects(svc, "a")...))
	r.stop()

	dir := t.TempDir()
	real, err := host.LookPath("iptables-restore")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nif [ -e %[1]s/broken ]; then echo out of luck >&2; exit 4; fi\nexec %[2]s \"$@\"\n", dir, real)
	for name, text := range map[string]string{"iptables-restore": script, "broken": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	again := begin(t, w.Node, fake.NewClientset(objects(svc, "c")...))
	eventually(t, "failures are counted", func() bool {
		_, body := get(t, w.Node, "http://127.0.0.1:10249/metrics")
		return strings.Contains(body, "kubeproxy_sync_proxy_rules_iptables_restore_failures_total{")
	})
	if got := reaches(w, "b", "10.96.0.41:80"); got != "a" {
		t.Errorf("what was there goes on serving: %s", got)
	}
	if err := os.Remove(filepath.Join(dir, "broken")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "done in the end", func() bool { return reaches(w, "b", "10.96.0.41:80") == "c" })
	again.holdsThePlan(t)
}

// The lock of the legacy variant is held by somebody for a while.
func TestLocked(t *testing.T) {
	w := NewWorld(t)
	svc := Service("ns1", "svc1", "10.96.0.41")
	lock, err := unix.Open("/run/xtables.lock", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(lock, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { _ = unix.Close(lock) })
	r := run(t, w.Node, fake.NewClientset(objects(svc, "a")...), func(c *Config) { c.IPTablesVariant = "legacy" })
	if got := reaches(w, "b", "10.96.0.41:80"); got != "a" {
		t.Errorf("after the lock: %s", got)
	}
	r.holdsThePlan(t)
}

// A node that gets another address answers NodePorts there, and no more at the old one.
func TestP39AddressChange(t *testing.T) {
	inBothModes(t, func(t *testing.T, inMode func(*Config)) {
		w := NewWorld(t)
		node := func(ip string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Here, ResourceVersion: ip},
				Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}}}
		}
		r := run(t, w.Node, fake.NewClientset(append(objects(Service("ns1", "svc1", "10.96.0.41", NodePort(30080)), "a"), node(NodeIP))...), inMode,
			func(c *Config) { c.NodePortAddresses = []string{"primary"} })
		if got := reaches(w, "outside", NodeIP+":30080"); got != "a" {
			t.Errorf("at first: %s", got)
		}
		const moved = "172.30.0.111"
		if _, err := w.Node.Command(t.Context(), "ip", "addr", "add", moved+"/24", "dev", "eth0").Output(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.client.CoreV1().Nodes().Update(t.Context(), node(moved), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new address answers", func() bool { return reaches(w, "outside", moved+":30080") == "a" })
		if got := reaches(w, "outside", NodeIP+":30080"); got != "refused" {
			t.Errorf("the old address: %s", got)
		}
		r.holdsThePlan(t)
	})
}

// A Service of 50,000 endpoints. (iptables-restore needs some ten seconds for them.)
func TestFiftyThousandEndpoints(t *testing.T) {
	inBothModes(t, func(t *testing.T, inMode func(*Config)) {
		w := NewWorld(t)
		r := run(t, w.Node, fake.NewClientset(objects(Service("ns1", "svc1", "10.96.0.41"), "a")...), inMode)
		r.stop()
		f := r.families[0]
		f.plans = Many(1, 50_000).Services
		if _, err := f.backend.Full(t.Context(), r.snapshot(f)); err != nil {
			t.Fatal(err)
		}
		r.holdsThePlan(t)
	})
}
