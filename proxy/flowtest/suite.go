package flowtest

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"orrery.example.org/proxy/plan"
)

// Suite is what every data plane has to do, by real packets and in real kernels. The
// names of its tests begin with the numbers of the behaviours that they prove.
func Suite(t *testing.T, planes ...Plane) {
	for _, p := range planes {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel() // most of the time goes by in waiting for silence
			p.Have(t)
			for _, test := range suite {
				t.Run(test.name, func(t *testing.T) { test.run(t, p) })
			}
		})
	}
}

var suite = []struct {
	name string
	run  func(*testing.T, Plane)
}{
	{"Flows", testFlows},
	{"FlowsByChange", testFlowsByChange},
	{"P16 P17 what no Service has", testStrays},
	{"P21 affinity", testAffinity},
	{"P23 mark", testMark},
	{"P24 masquerade all", testMasqueradeAll},
	{"P25 Pods by interface", testLocalInterface},
	{"P31 P32 NodePort addresses", testNodePortAddresses},
	{"P36 established connections stay", testEstablished},
	{"P40 cleanup", testCleanup},
	{"P45 changes equal full", testChangesEqualFull},
	{"P46 small transactions", testSmallTransactions},
	{"P5 takes over", testTakesOver},
	{"P37 SCTP", testSCTP},
	{"P38 IPv6 flows", testIPv6Flows},
	{"P38 IPv6 rules", testIPv6Rules},
}

// Every scenario, by real packets.
func testFlows(t *testing.T, p Plane) {
	w := NewWorld(t)
	a := p.Start(t, w.Node, Knobs{})
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			a.Sync(t, s.Plans())
			w.CheckAll(t, p.flows(s))
			if !testing.Short() {
				a.Holds(t, s.Plans())
			}
		})
	}
}

// Every scenario once more, in the other family.
func testIPv6Flows(t *testing.T, p Plane) {
	w := NewWorld(t)
	a := p.Start(t, w.Node, Knobs{Family: plan.IPv6})
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			plans := SixPlans(s.Plans())
			a.Sync(t, plans)
			w.CheckAll(t, sixes(p.flows(s)))
			if !testing.Short() {
				a.Holds(t, plans)
			}
		})
	}
}

// The same by way of changes: each scenario follows from the one before.
func testFlowsByChange(t *testing.T, p Plane) {
	w := NewWorld(t)
	a := p.Start(t, w.Node, Knobs{})
	last := Snapshot()
	a.Sync(t, last)
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			a.Move(t, last, s.Plans())
			last = s.Plans()
			w.CheckAll(t, p.flows(s))
			if !testing.Short() {
				a.Holds(t, last)
			}
		})
	}
}

// The wrong port of a ClusterIP, the wrong protocol, an address that nobody has, a ping:
// here the planes differ, and upstream's in the same way.
func testStrays(t *testing.T, p Plane) {
	w := NewWorld(t)
	p.Start(t, w.Node, Knobs{}).Sync(t, Snapshot(Planned(Service("ns1", "svc1", vip), Port, Pods("a")...)))
	for _, f := range []Flow{
		{From: "b", To: vip + ":81"}, {From: "node", To: vip + ":81"}, {From: "outside", To: vip + ":81"},
		{From: "b", To: svcAddr, UDP: true}, {From: "b", To: "10.96.0.99:80"}, {From: "node", To: "10.96.0.99:80"},
	} {
		f.Want = p.expect(f)
		w.Check(t, f)
	}
	if got := w.Ping(t, "b", vip, p.Ping); got != p.Ping {
		t.Errorf("a ping of a ClusterIP: %s, want %s", got, p.Ping)
	}
}

// A client stays with its endpoint, through changes of others, until its own is gone.
func testAffinity(t *testing.T, p Plane) {
	w := NewWorld(t)
	a := p.Start(t, w.Node, Knobs{})
	with := func(pods string, tweaks ...Tweak) plan.Snapshot {
		return Snapshot(Planned(Service("ns1", "svc1", vip, tweaks...), Port, Pods(pods)...))
	}
	answers := func(n int) string {
		seen := ""
		for range n {
			name, _, err := w.Ask(Flow{From: "b", To: svcAddr}, patient)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(seen, name) {
				seen += name
			}
		}
		return seen
	}
	a.Sync(t, with("ac", Affinity(600)))
	first := answers(20)
	if len(first) != 1 {
		t.Fatalf("one client was answered by %q", first)
	}
	a.Move(t, with("ac", Affinity(600)), with("abc", Affinity(600)))
	a.Sync(t, with("abc", Affinity(600)))
	if got := answers(20); got != first {
		t.Errorf("after a new endpoint came %q answers, want %q as before", got, first)
	}
	others := strings.ReplaceAll("abc", first, "")
	a.Move(t, with("abc", Affinity(600)), with(others, Affinity(600)))
	if got := answers(20); len(got) != 1 || !strings.Contains(others, got) {
		t.Errorf("after %s went %q answers, want one of %s", first, got, others)
	}
	a.Move(t, with(others, Affinity(600)), with(others))
	if got := answers(60); len(got) != 2 {
		t.Errorf("without affinity %q answers, want both of %s", got, others)
	}
	if p.LongMemory {
		return
	}
	a.Move(t, with(others), with(others, Affinity(1)))
	for seen := answers(1); len(seen) == 1; { // each time the kernel has forgotten the client
		time.Sleep(1100 * time.Millisecond)
		if name := answers(1); name != seen {
			seen += name
		}
	}
}

// What carries the mark is masqueraded, whoever put it there.
func testMark(t *testing.T, p Plane) {
	w := NewWorld(t)
	p.Start(t, w.Node, Knobs{}).Sync(t, Snapshot())
	direct := Flow{From: "b", To: Addrs["c"] + ":8080", Want: Kept("c")}
	w.Check(t, direct)
	Run(t, w.Node, "nft add table ip mine; add chain ip mine first { type filter hook prerouting priority -150; }; add rule ip mine first meta mark set 0x4000")
	direct.Want = Masqueraded("c")
	w.Check(t, direct)
}

func testMasqueradeAll(t *testing.T, p Plane) {
	w := NewWorld(t)
	p.Start(t, w.Node, Knobs{MasqueradeAll: true}).Sync(t, one("ac")())
	w.Check(t, Flow{From: "b", To: svcAddr, Want: Masqueraded("ac")})
}

// Pods told by the interface they come from.
func testLocalInterface(t *testing.T, p Plane) {
	w := NewWorld(t)
	for _, name := range []string{"cni0", "cni+"} {
		s := one("ac")()
		s.Local = plan.Local{Interface: name}
		p.Start(t, w.Node, Knobs{}).Sync(t, s)
		w.Check(t, Flow{From: "b", To: svcAddr, Want: Kept("ac")})
		w.Check(t, Flow{From: "outside", To: svcAddr, Want: Masqueraded("ac")})
	}
}

// NodePorts answer on the addresses they are told to; on 127.0.0.1 for the node alone, if
// the plane can.
func testNodePortAddresses(t *testing.T, p Plane) {
	w := NewWorld(t)
	s := one("ac", NodePort(30080))()
	a := p.Start(t, w.Node, Knobs{})
	a.Sync(t, s)
	local := Flow{From: "node", To: "127.0.0.1:30080", Want: Refused}
	if p.ElsewhereToo {
		local.Want = Served("ac")
	}
	w.Check(t, local)
	w.Check(t, Flow{From: "b", To: "10.244.1.1:30080", Want: Masqueraded("ac")})
	a = p.Start(t, w.Node, Knobs{NoLocalhost: true})
	a.Sync(t, s)
	w.Check(t, Flow{From: "node", To: "127.0.0.1:30080", Want: Refused})
	a.Holds(t, s)
	s.NodePortIPs = []netip.Addr{netip.MustParseAddr(NodeIP)}
	a.Sync(t, s)
	w.Check(t, Flow{From: "b", To: "10.244.1.1:30080", Want: Refused})
	w.Check(t, Flow{From: "outside", To: nodeAddr, Want: Masqueraded("ac")})
	a.Holds(t, s)
}

// Connections that are there stay when endpoints come and go, their own included.
func testEstablished(t *testing.T, p Plane) {
	w := NewWorld(t)
	a := p.Start(t, w.Node, Knobs{})
	ln, err := w.Place("c").Listen(context.Background(), "tcp", ":9090")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	svc := Service("ns1", "svc1", vip)
	before := Snapshot(Planned(svc, 9090, Pods("c")...))
	a.Sync(t, before)
	held := w.Hold(t, ln, "b", svcAddr)
	for _, next := range []plan.Snapshot{Snapshot(Planned(svc, 9090, Pods("abc")...)), Snapshot(Planned(svc, 9090)), Snapshot()} {
		a.Move(t, before, next)
		before = next
		held.Alive(t, "after a change of endpoints")
	}
}
