package nftables

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// randomService is any Service, with any endpoints, of a name out of ten. Some claim
// what belongs to others.
func randomService(r *rand.Rand) *plan.Service {
	n := r.IntN(10)
	var tweaks []Tweak
	maybe := func(t ...Tweak) {
		if r.IntN(3) == 0 {
			tweaks = append(tweaks, t[r.IntN(len(t))])
		}
	}
	maybe(NodePort(int32(30000+n)), LoadBalancer(int32(30000+n)), LoadBalancer(int32(30000+n), fmt.Sprintf("172.30.100.%d", n+1)))
	maybe(ExternalIPs(fmt.Sprintf("10.99.0.%d", n)), ExternalIPs("10.99.0.1", "10.99.0.2"), ExternalIPs("10.96.0.3"))
	maybe(ExternalLocal(int32(31000 + n)))
	maybe(InternalLocal)
	maybe(Affinity(10), Affinity(20))
	maybe(SourceRanges("172.30.0.0/24"), SourceRanges("10.0.0.0/8", "10.244.0.0/16", "192.168.0.0/16"), SourceRanges("0.0.0.0/0"))
	maybe(Protocol(corev1.ProtocolUDP), Protocol(corev1.ProtocolSCTP))
	maybe(func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	var endpoints []Endpoint
	for range r.IntN(5) {
		e := Endpoint{Addr: fmt.Sprintf("10.244.%d.%d", r.IntN(2), r.IntN(20)), NotReady: r.IntN(4) == 0, Terminating: r.IntN(4) == 0}
		if r.IntN(2) == 0 {
			e.Node = Here
		}
		endpoints = append(endpoints, e)
	}
	return Planned(Service("ns", fmt.Sprintf("s%d", n), fmt.Sprintf("10.96.0.%d", n+1), tweaks...), 8080, endpoints...)
}

// After any sequence of changes the kernel holds what a full sync from nothing would
// have put there.
func TestChangesEqualFull(t *testing.T) {
	Namespaces(t)
	r := rand.New(rand.NewPCG(1, 2))
	a := start(t, NewPlace(t, "changed"))
	current := Snapshot()
	full(t, a, current)
	for round := range 200 {
		next := Snapshot()
		for name, svc := range current.Services {
			next.Services[name] = svc
		}
		for range 1 + r.IntN(3) {
			svc := randomService(r)
			if next.Services[svc.Name] = svc; r.IntN(4) == 0 {
				delete(next.Services, svc.Name)
			}
		}
		change(t, a, current, next)
		current = next
		intact(t, a, current)
		if round%50 == 49 {
			full(t, a, current) // removes what no endpoint count needs any more
			fresh := start(t, NewPlace(t, "fresh"))
			full(t, fresh, current)
			if diff := cmp.Diff(listing(t, fresh.host), listing(t, a.host)); diff != "" {
				t.Fatalf("round %d (-fresh +changed):\n%s", round, diff)
			}
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// listing is what nft lists, in an order of its own.
func listing(t testing.TB, h *host.Host) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(nft(t, h, "list", "table", "ip", TableName)) {
		for part := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSpace(line), "elements = {"), ",") {
			lines = append(lines, strings.Trim(part, " \t\n}"))
		}
	}
	slices.Sort(lines)
	return lines
}

// A full sync with nothing to do writes nothing, and repairs exactly what is wrong. The
// cheap check notices all of it (P45, P48).
func TestFullRepairs(t *testing.T) {
	Namespaces(t)
	h := NewPlace(t, "node")
	a := start(t, h)
	s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), Affinity(60)), Port, Pods("abc")...),
		Planned(Service("ns1", "svc2", "10.96.0.42"), Port),
		Planned(Service("ns1", "svc3", "10.96.0.43", LoadBalancer(30081, "172.30.100.1"), SourceRanges("10.0.0.0/8")), Port, Pods("a")...))
	full(t, a, s)
	want := listing(t, h)
	if report := full(t, a, s); report.Batches != 0 {
		t.Errorf("a second full sync made %d transactions for %v", report.Batches, report.Written)
	}
	intact(t, a, s)
	for _, damage := range []string{
		"flush ruleset", "delete table ip kube-proxy", "flush table ip kube-proxy", "flush map ip kube-proxy service-ips",
		"flush chain ip kube-proxy services", "flush chain ip kube-proxy one-of-3", "add rule ip kube-proxy external drop",
		"delete element ip kube-proxy service-ips { 10.96.0.41 . tcp . 80 }",
		"delete element ip kube-proxy source-ranges { 172.30.100.1 . tcp . 80 . 10.0.0.0/8 }",
		"add element ip kube-proxy cluster-ips { 10.96.0.99 }",
		"delete element ip kube-proxy no-endpoint-services { 10.96.0.42 . tcp . 80 }; add element ip kube-proxy no-endpoint-services { 10.96.0.42 . tcp . 80 : drop }",
		"add chain ip kube-proxy service-ULMVA6XW-ns1/svc1/tcp/p80", "add set ip kube-proxy mine { type ipv4_addr; }",
		"add map ip kube-proxy endpoints-7 { type ipv4_addr : verdict; }",
		"add chain ip kube-proxy one-of-9", "insert rule ip kube-proxy nat-prerouting accept",
		"delete table ip kube-proxy; add table ip kube-proxy; add set ip kube-proxy service-ips { type inet_service; }; add chain ip kube-proxy services",
	} {
		nft(t, h, strings.Fields(damage)...)
		if ok, err := a.Intact(context.Background()); err != nil || ok {
			t.Errorf("%s: intact=%v, error %v", damage, ok, err)
		}
		full(t, a, s)
		intact(t, a, s)
		if diff := cmp.Diff(want, listing(t, h)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", damage, diff)
		}
	}
}

// What others do to their own tables makes the check longer, not different.
func TestIntactBesideOthers(t *testing.T) {
	Namespaces(t)
	h := NewPlace(t, "node")
	a := start(t, h)
	s := Many(5, 3)
	full(t, a, s)
	for i := range 3 {
		nft(t, h, "add", "table", "ip", fmt.Sprintf("mine%d", i))
		intact(t, a, s)
		next := Many(6+i, 3)
		change(t, a, s, next)
		s = next
		intact(t, a, s)
	}
}

// Cleanup leaves nothing of ours and everything of others (P40).
func TestP40Cleanup(t *testing.T) {
	Namespaces(t)
	h := NewPlace(t, "node")
	nft(t, h, "add", "table", "ip", "mine")
	full(t, start(t, h), Many(10, 3))
	v6 := Snapshot(Planned(Service("ns1", "svc1", "fd00:10:96::29"), Port))
	v6.Local = plan.Local{}
	full(t, start(t, h, func(s *Settings) { s.Family = plan.IPv6 }), v6)
	for range 2 {
		if err := CleanupAll(context.Background(), h); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(nft(t, h, "list", "tables")); got != "table ip mine" {
			t.Errorf("left behind: %q", got)
		}
	}
}

// Transactions of any size lead to the same elements, also where a Service has more
// than fit into one.
func TestSmallTransactions(t *testing.T) {
	Namespaces(t)
	s := Many(30, 8)
	s.Services[plan.Name{Namespace: "load", Name: "wide"}] = Planned(Service("load", "wide", "10.97.0.1"), Port, Endpoints(1000, 120)...)
	whole := start(t, NewPlace(t, "whole"))
	full(t, whole, s)
	pieces := start(t, NewPlace(t, "pieces"))
	pieces.limit = 1000
	if report := full(t, pieces, s); report.Batches < 30 {
		t.Errorf("only %d transactions", report.Batches)
	}
	intact(t, pieces, s)
	if diff := cmp.Diff(listing(t, whole.host), listing(t, pieces.host)); diff != "" {
		t.Errorf("(-whole +pieces):\n%s", diff)
	}
}

// In a user namespace the kernel refuses large transactions; smaller ones must do.
func TestTooLongForAUser(t *testing.T) {
	Namespaces(t)
	a := start(t, NewPlace(t, "node"))
	a.limit = 100 * bytesPerTransaction
	s := Many(2000, 5)
	full(t, a, s)
	if a.limit >= 100*bytesPerTransaction {
		t.Error("no transaction was too large: the test proves nothing")
	}
	intact(t, a, s)
}

func TestAsUser(t *testing.T) {
	AsUser(t, "^(TestFlows|TestChangesEqualFull|TestFullRepairs|TestP40Cleanup|TestTooLongForAUser|TestP21Affinity)$")
}

// A client stays with its endpoint, through changes of others, until its own is gone.
func TestP21Affinity(t *testing.T) {
	w := NewWorld(t)
	a := start(t, w.Node)
	with := func(pods string, tweaks ...Tweak) plan.Snapshot {
		return Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", tweaks...), Port, Pods(pods)...))
	}
	answers := func(n int) string {
		seen := ""
		for range n {
			name, _, err := w.Connect(Flow{From: "b", To: "10.96.0.41:80"})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(seen, name) {
				seen += name
			}
		}
		return seen
	}
	full(t, a, with("ac", Affinity(600)))
	first := answers(20)
	if len(first) != 1 {
		t.Fatalf("one client was answered by %q", first)
	}
	change(t, a, with("ac", Affinity(600)), with("abc", Affinity(600)))
	full(t, a, with("abc", Affinity(600)))
	if got := answers(20); got != first {
		t.Errorf("after a new endpoint came %q answers, want %q as before", got, first)
	}
	others := strings.ReplaceAll("abc", first, "")
	change(t, a, with("abc", Affinity(600)), with(others, Affinity(600)))
	if got := answers(20); len(got) != 1 || !strings.Contains(others, got) {
		t.Errorf("after %s went %q answers, want one of %s", first, got, others)
	}
	change(t, a, with(others, Affinity(600)), with(others))
	if got := answers(60); len(got) != 2 {
		t.Errorf("without affinity %q answers, want both of %s", got, others)
	}
	change(t, a, with(others), with(others, Affinity(1)))
	seen := answers(1)
	for len(seen) == 1 { // each time the kernel has forgotten the client
		time.Sleep(1100 * time.Millisecond)
		if name := answers(1); name != seen {
			seen += name
		}
	}
}

// What iptables leaves to the default route, nftables answers (P16, P17).
func TestP16ClusterIPsCheck(t *testing.T) {
	w := NewWorld(t)
	a := start(t, w.Node)
	full(t, a, Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("a")...)))
	for _, f := range []Flow{
		{From: "b", To: "10.96.0.41:81", Want: Refused}, {From: "node", To: "10.96.0.41:81", Want: Refused},
		{From: "outside", To: "10.96.0.41:81", Want: Refused}, {From: "b", To: "10.96.0.41:80", UDP: true, Want: Refused},
		{From: "b", To: "10.96.0.99:80", Want: Dropped}, {From: "node", To: "10.96.0.99:80", Want: Dropped},
	} {
		w.Check(t, f)
	}
}

func TestP24MasqueradeAll(t *testing.T) {
	w := NewWorld(t)
	a := start(t, w.Node, func(s *Settings) { s.MasqueradeAll = true })
	full(t, a, Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("ac")...)))
	w.Check(t, Flow{From: "b", To: "10.96.0.41:80", Want: Masqueraded("ac")})
}

// Pods told by the interface they come from (P25).
func TestP25BridgeInterface(t *testing.T) {
	w := NewWorld(t)
	for _, name := range []string{"cni0", "cni+"} {
		a := start(t, w.Node)
		s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("ac")...))
		s.Local = plan.Local{Interface: name}
		full(t, a, s)
		w.Check(t, Flow{From: "b", To: "10.96.0.41:80", Want: Kept("ac")})
		w.Check(t, Flow{From: "outside", To: "10.96.0.41:80", Want: Masqueraded("ac")})
	}
}

// NodePorts answer on the addresses they are told to, and never on 127.0.0.1 (P31, P32).
func TestP31NodePortAddresses(t *testing.T) {
	w := NewWorld(t)
	a := start(t, w.Node)
	s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080)), Port, Pods("ac")...))
	full(t, a, s)
	w.Check(t, Flow{From: "node", To: "127.0.0.1:30080", Want: Refused})
	w.Check(t, Flow{From: "b", To: "10.244.1.1:30080", Want: Masqueraded("ac")})
	s.NodePortIPs = []netip.Addr{netip.MustParseAddr(NodeIP)}
	full(t, a, s)
	w.Check(t, Flow{From: "b", To: "10.244.1.1:30080", Want: Refused})
	w.Check(t, Flow{From: "outside", To: NodeIP + ":30080", Want: Masqueraded("ac")})
}

// Connections that are there stay when endpoints come and go.
func TestEstablishedConnectionsStay(t *testing.T) {
	w := NewWorld(t)
	a := start(t, w.Node)
	ln, err := w.Place("c").Listen(context.Background(), "tcp", ":9090")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	svc := Service("ns1", "svc1", "10.96.0.41")
	before := Snapshot(Planned(svc, 9090, Pods("c")...))
	full(t, a, before)
	client, err := w.Dial("b", "tcp", "10.96.0.41:80")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, next := range []plan.Snapshot{Snapshot(Planned(svc, 9090, Pods("abc")...)), Snapshot(Planned(svc, 9090)), Snapshot()} {
		change(t, a, before, next)
		before = next
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// IPv6 is the same code with longer keys (P38).
func TestP38IPv6(t *testing.T) {
	Namespaces(t)
	a := start(t, NewPlace(t, "node"), func(s *Settings) { s.Family = plan.IPv6 })
	svc := Service("ns1", "svc1", "fd00:10:96::29", LoadBalancer(30080, "fd00:100::1"), Affinity(60), ExternalLocal(0), SourceRanges("fd00:172::/32"))
	before := Snapshot(Planned(svc, 80, Endpoint{Addr: "fd00:10:244::2"}, Endpoint{Addr: "fd00:10:244::3", Node: Here}))
	before.Local = plan.Local{}
	full(t, a, before)
	intact(t, a, before)
	if report := full(t, a, before); report.Batches != 0 {
		t.Errorf("a second full sync made %d transactions", report.Batches)
	}
	after := Snapshot(Planned(svc, 80))
	change(t, a, before, after)
	intact(t, a, after)
}

// What a learner sees of a small cluster, one Service of each sort.
func TestP42Listing(t *testing.T) {
	Namespaces(t)
	a := start(t, NewPlace(t, "node"))
	s := Snapshot(
		Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("a")...),
		Planned(Service("ns2", "svc2", "10.96.0.42", LoadBalancer(30080, "172.30.100.1"), SourceRanges("172.30.0.0/24"), ExternalLocal(31000)), Port, Pods("ac")...),
		Planned(Service("ns3", "svc3", "10.96.0.43", Affinity(10800)), Port, Pods("abc")...),
		Planned(Service("ns4", "svc4", "10.96.0.44"), Port),
	)
	s.NodePortIPs = []netip.Addr{netip.MustParseAddr(NodeIP)}
	full(t, a, s)
	golden(t, "listing", inOrder(nft(t, a.host, "list", "table", "ip", TableName)))
}

// inOrder sorts the elements of each set in a listing: the kernel's order is any.
func inOrder(text string) string {
	return regexp.MustCompile(`(?s)elements = \{.*?\}`).ReplaceAllStringFunc(text, func(block string) string {
		elements := strings.Split(strings.Trim(strings.TrimPrefix(block, "elements = "), "{}"), ",")
		for i := range elements {
			elements[i] = strings.TrimSpace(elements[i])
		}
		slices.Sort(elements)
		return "elements = { " + strings.Join(elements, ",\n\t\t\t     ") + " }"
	})
}
