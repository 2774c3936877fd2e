package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/lb/plan"
	"orrery.example.org/proxy/flowtest"
)

// run runs a balancer in the background, and waits until it is ready.
func (n *network) run(b *Balancer) (stop func()) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("the balancer ended with %v", err)
		}
	})
	n.t.Cleanup(stop)
	select {
	case <-b.Ready():
	case <-time.After(30 * time.Second):
		n.t.Fatal("the balancer does not get ready")
	}
	return stop
}

// answers counts who answers 40 connections; no answer is an error.
func (n *network) answers() (map[string]int, error) {
	count := map[string]int{}
	for range 40 {
		s, answer, err := n.dial(n.vip(80))
		if err != nil {
			return count, err
		}
		_ = s.Close()
		count[answer]++
	}
	return count, nil
}

func (n *network) wantAnswers(what string, want ...string) {
	n.t.Helper()
	n.eventually(what, func() error {
		count, err := n.answers()
		if err != nil {
			return err
		}
		for _, w := range want {
			if count[w+" "+n.at(clientAddress)+"\n"] == 0 {
				return fmt.Errorf("%s does not answer: %v", w, count)
			}
		}
		if len(count) != len(want) {
			return fmt.Errorf("others answer: %v", count)
		}
		return nil
	})
}

func (n *network) wantError(what, address string, want error) {
	n.t.Helper()
	n.eventually(what, func() error {
		if _, answer, err := n.dial(address); !errors.Is(err, want) {
			return fmt.Errorf("%q, %v", answer, err)
		}
		return nil
	})
}

// TestPackets: connections are spread over healthy nodes, with the client's address.
func TestPackets(t *testing.T) { inBothFamilies(t, testPackets) }

// inBothFamilies runs a test in a network of IPv4, and in one of IPv6.
func inBothFamilies(t *testing.T, test func(*testing.T, *network)) {
	t.Run("IPv4", func(t *testing.T) { test(t, newNetwork(t, false)) })
	t.Run("IPv6", func(t *testing.T) { test(t, newNetwork(t, true)) })
}

func testPackets(t *testing.T, n *network) {
	n.service(nil)
	b, stop := n.balance()
	n.wantAnswers("both nodes", "a", "b")
	n.wantError("a port that the Service does not have", n.vip(81), unix.ECONNREFUSED)
	n.wantError("an address that no Service has", net.JoinHostPort(n.at("172.30.100.9"), "80"), unix.EHOSTUNREACH)

	// An established connection stays on a node that gets no new ones.
	var held *session
	n.eventually("a connection to a", func() error {
		s, answer, err := n.dial(n.vip(80))
		if held = s; err == nil && !strings.HasPrefix(answer, "a ") {
			err = errors.New(answer)
		}
		return err
	})
	n.nodes["a"].well.Store(false)
	n.wantAnswers("b alone", "b")
	if answer, err := held.ask(); err != nil || !strings.HasPrefix(answer, "a ") {
		t.Errorf("the established connection: %q, %v", answer, err)
	}
	n.eventually("the reason is told", func() error {
		if why := b.Services()[0].Uses[0].Why; why != "503: Service Unavailable" {
			return fmt.Errorf("it is %q", why)
		}
		return nil
	})
	for _, size := range []int{1, 4000} { // the larger one comes in fragments
		if answer, err := n.datagram(size); answer != fmt.Sprintf("b %s %d", n.at(clientAddress), size) {
			t.Errorf("a datagram of %d bytes: %q, %v", size, answer, err)
		}
	}
	n.nodes["b"].well.Store(false)
	n.wantError("no healthy node", n.vip(80), unix.ECONNREFUSED)
	n.nodes["a"].well.Store(true)
	n.wantAnswers("a again", "a")
	n.nodes["b"].well.Store(true)
	n.wantAnswers("both again", "a", "b")

	// Affinity: one client, one node.
	n.service(func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	n.eventually("one node for all connections", func() error {
		count, err := n.answers()
		if err == nil && len(count) != 1 {
			err = fmt.Errorf("%v", count)
		}
		return err
	})
	stop()
	n.clean("after the end")
}

// clean checks that nothing of a balancer is left.
func (n *network) clean(when string) {
	n.t.Helper()
	for _, command := range []string{"nft list tables", "ip rule show priority 1001", "ip route show table 1001", "ip -6 rule show priority 1001", "ip -6 route show table 1001"} {
		words := strings.Fields(command)
		out, err := n.balancer.Command(n.t.Context(), words[0], words[1:]...).Output()
		if text := string(out); strings.Contains(text, "load-balancer") || strings.Contains(text, "1001") || strings.Contains(text, "via") {
			n.t.Errorf("%s, %s prints %s (%v)", when, command, text, err)
		}
	}
}

// TestRepair: rules that somebody flushed or edited are made anew.
func TestRepair(t *testing.T) { inBothFamilies(t, testRepair) }

func testRepair(t *testing.T, n *network) {
	family := familiesOf([]netip.Prefix{netip.MustParsePrefix(n.net("172.30.100.0/24"))})[0]
	n.service(nil)
	n.balance()
	n.wantAnswers("both nodes", "a", "b")
	for _, harm := range []string{
		"nft flush ruleset", "nft flush chain $IP load-balancer choose",
		"nft flush map $IP load-balancer services", "ip $OPTION rule del priority 1001", "ip $OPTION route flush table 1002",
	} {
		harm = strings.NewReplacer("$IP", family.ip, "$OPTION", map[bool]string{false: "-4", true: "-6"}[n.six]).Replace(harm)
		words := strings.Fields(harm)
		if _, err := n.balancer.Command(t.Context(), words[0], words[1:]...).Output(); err != nil {
			t.Fatal(err)
		}
		n.wantAnswers("after "+harm, "a", "b")
	}
}

// TestCrash: a balancer that was killed leaves rules that go on serving; the next one
// takes them away, and established connections find their node again without them.
func TestCrash(t *testing.T) {
	n := newNetwork(t, false)
	n.service(nil)
	cfg := n.config()
	must(t, becomeRouter(n.balancer, bothFamilies))
	services, err := n.api.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	nodes, err := n.api.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	must(t, err)
	nodes.Items = append(nodes.Items, corev1.Node{ // one that will not be there any more
		ObjectMeta: metav1.ObjectMeta{Name: "c", Labels: map[string]string{corev1.LabelNodeExcludeBalancers: ""}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.30.0.13"}}},
	})
	in := plan.Input{NodePort: 10256, Health: func(plan.Target) plan.Health { return plan.Health{Known: true, OK: true} }}
	in.Pool, _ = cfg.pool()
	for i := range nodes.Items {
		in.Nodes = append(in.Nodes, &nodes.Items[i])
	}
	in.Services = append(in.Services, &services.Items[0])
	must(t, newKernel(cfg, cfg.Log).apply(t.Context(), plan.Of(in)))

	held := map[string]*session{}
	for range 20 {
		s, answer, err := n.dial(n.vip(80))
		must(t, err)
		held[answer[:1]] = s
	}
	if len(held) != 2 {
		t.Fatalf("20 connections reached %v", held)
	}
	stop := n.run(newBalancer(cfg, n.api))
	for name, s := range held {
		if answer, err := s.ask(); err != nil || answer[:1] != name {
			t.Errorf("the connection to %s: %q, %v", name, answer, err)
		}
	}
	n.wantAnswers("both nodes", "a", "b")
	out, err := n.balancer.Command(t.Context(), "ip", "rule").Output()
	if err != nil || strings.Contains(string(out), "1003") {
		t.Errorf("the rule of a node that is gone is still there: %s (%v)", out, err)
	}
	stop()
	n.clean("after the end")
}

// TestManyServices: as many as the pool has room for, and nodes that differ, fit into
// what the kernel takes at a time without root.
func TestManyServices(t *testing.T) {
	n := newNetwork(t, false)
	p := &plan.Plan{Frontends: map[plan.Frontend]plan.Group{}}
	a := netip.MustParseAddr("172.30.100.0")
	for i := range 254 {
		a = a.Next()
		p.Services = append(p.Services, plan.Service{Addr: a})
		for port := range uint16(8) {
			p.Frontends[plan.Frontend{Addr: a, Protocol: corev1.ProtocolTCP, Port: 8000 + port}] = plan.Group{Nodes: []string{"a", fmt.Sprint("b", i%10)}}
		}
	}
	k := newKernel(n.config(), slog.New(slog.DiscardHandler))
	must(t, k.apply(t.Context(), p))
	out, err := n.balancer.Command(t.Context(), "nft", "list", "table", "ip", "load-balancer").Output()
	must(t, err)
	if elements, chains := strings.Count(string(out), ": goto spread-"), strings.Count(string(out), "chain spread-"); elements != 254*8 || chains != 10 {
		t.Errorf("%d elements and %d groups", elements, chains)
	}
	must(t, k.apply(t.Context(), &plan.Plan{}))
	if out, err = n.balancer.Command(t.Context(), "nft", "list", "table", "ip", "load-balancer").Output(); err != nil || strings.Contains(string(out), "spread-") {
		t.Errorf("after all Services went, there is %s (%v)", out, err)
	}
}

// TestAsUser does the same without root.
func TestAsUser(t *testing.T) {
	flowtest.AsUser(t, "^(TestPackets|TestRepair|TestCrash|TestManyServices)$")
}
