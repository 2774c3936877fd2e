package packet

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
)

const (
	vip      = "10.96.0.41"
	nodePort = flowtest.NodeIP + ":30080"
)

func service(pods string, tweaks ...flowtest.Tweak) plan.Snapshot {
	return flowtest.Snapshot(flowtest.Planned(flowtest.Service("ns1", "svc1", vip, tweaks...), flowtest.Port, flowtest.Pods(pods)...))
}

// walk takes a packet that is no first one of a flow of flowtest.
func walk(t *testing.T, rules Rules, node Node, p Packet) Result {
	t.Helper()
	r, err := Walk(rules, node, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// only is the one outcome of a result.
func only(t *testing.T, r Result) Outcome {
	t.Helper()
	if len(r.Outcomes) != 1 {
		t.Fatalf("%d outcomes, want 1:\n%s", len(r.Outcomes), r.Text(false))
	}
	return r.Outcomes[0]
}

// Why a packet is masqueraded (P9, P18, P19, P22, P24).
func TestCauses(t *testing.T) {
	all := func(s *iptables.Settings) { s.MasqueradeAll = true }
	none := func(*iptables.Settings) {}
	local := flowtest.ExternalLocal(0)
	for _, row := range []struct {
		name  string
		plans plan.Snapshot
		tweak func(*iptables.Settings)
		from  string
		to    string
		want  Causes
	}{
		{"P9 off cluster", service("c"), none, "outside", vip + ":80", OffCluster},
		{"P9 the node", service("c"), none, "node", vip + ":80", OffCluster},
		{"P9 a Pod", service("c"), none, "b", vip + ":80", 0},
		{"P18 Local, outside", service("a", flowtest.NodePort(30080), local), none, "outside", nodePort, 0},
		{"P18 Local, the node", service("a", flowtest.NodePort(30080), local), none, "node", nodePort, FromNode},
		{"P18 Local, a Pod", service("a", flowtest.NodePort(30080), local), none, "b", nodePort, 0},
		{"P19 Cluster, a Pod", service("a", flowtest.NodePort(30080)), none, "b", nodePort, FromOutside},
		{"P22 hairpin", service("a"), none, "a", vip + ":80", Hairpin},
		{"P22 hairpin by NodePort", service("a", flowtest.NodePort(30080)), none, "a", nodePort, FromOutside | Hairpin},
		{"P24 masquerade-all", service("a"), all, "b", vip + ":80", MasqueradeAll},
	} {
		o := only(t, predict(t, rulesOf(row.plans, row.tweak), flowtest.Flow{From: row.from, To: row.to}))
		if o.Packet.Causes != row.want || o.Masqueraded != (row.want != 0) {
			t.Errorf("%s: masqueraded %t because %q, want because %q", row.name, o.Masqueraded, o.Packet.Causes, row.want)
		}
		if got := o.Service().String(); got != "ns1/svc1:p80" {
			t.Errorf("%s: of the Service %q", row.name, got)
		}
	}
}

// The mark is carried to POSTROUTING, whoever set it, and taken off there (P23).
func TestP23Mark(t *testing.T) {
	p := packetOf(flowtest.Flow{From: "b", To: "10.244.2.2:8080"})
	p.Mark = 0x4001
	o := only(t, walk(t, rulesOf(service("a")), node1, p))
	if !o.Masqueraded || o.Packet.Causes != MarkedBefore || o.Packet.Mark != 1 {
		t.Errorf("masqueraded %t because %q, mark %#x after", o.Masqueraded, o.Packet.Causes, o.Packet.Mark)
	}
}

// Every endpoint has the same share, exactly (P8).
func TestP8Shares(t *testing.T) {
	const n = 997
	s := flowtest.Snapshot(flowtest.Planned(flowtest.Service("ns1", "svc1", vip), flowtest.Port, flowtest.Endpoints(0, n)...))
	r := predict(t, rulesOf(s), flowtest.Flow{From: "b", To: vip + ":80"})
	seen := map[netip.AddrPort]bool{}
	for _, o := range r.Outcomes {
		seen[o.Endpoint] = true
		if got := o.Probability.RatString(); got != "1/997" {
			t.Fatalf("%s has the share %s", o.Endpoint, got)
		}
	}
	if len(seen) != n {
		t.Errorf("%d endpoints, want %d", len(seen), n)
	}
}

// A client that is remembered goes where it was, until that is too long ago (P21).
func TestP21Affinity(t *testing.T) {
	rules := rulesOf(service("abc", flowtest.Affinity(600)))
	f := flowtest.Flow{From: "b", To: vip + ":80"}
	first := predict(t, rules, f)
	if len(first.Outcomes) != 3 {
		t.Fatalf("at first %d outcomes:\n%s", len(first.Outcomes), first.Text(false))
	}
	for _, o := range first.Outcomes {
		memory := o.Packet.Affinity
		if again := only(t, predict(t, rules, f, memory...)); again.Endpoint != o.Endpoint {
			t.Errorf("after %s comes %s", o.Endpoint, again.Endpoint)
		}
		if r := predict(t, rules, flowtest.Flow{From: "a", To: f.To}, memory...); len(r.Outcomes) != 3 {
			t.Errorf("another client has %d outcomes", len(r.Outcomes))
		}
		memory[0].Age = 601e9
		if r := predict(t, rules, f, memory...); len(r.Outcomes) != 3 {
			t.Errorf("too late there are %d outcomes", len(r.Outcomes))
		}
	}
}

// An established connection goes on to an endpoint that the Service has no more.
func TestEstablishedOutlivesItsEndpoint(t *testing.T) {
	p := packetOf(flowtest.Flow{From: "b", To: vip + ":80"})
	p.Flow = Flow{State: Established, Endpoint: netip.MustParseAddrPort("10.244.2.2:8080")}
	for _, pods := range []string{"c", "a", ""} {
		if o := only(t, walk(t, rulesOf(service(pods)), node1, p)); o.Fate != Forwarded || o.Packet.Destination != p.Flow.Endpoint {
			t.Errorf("with endpoints %q: %s", pods, &o)
		}
	}
}

// What conntrack calls invalid is not forwarded, unless the kernel is liberal (P33).
func TestP33Invalid(t *testing.T) {
	p := packetOf(flowtest.Flow{From: "b", To: "10.244.2.2:8080"})
	p.Flow.State = Invalid
	if o := only(t, walk(t, rulesOf(service("a")), node1, p)); o.Fate != Dropped {
		t.Errorf("strict: %s", &o)
	}
	liberal := rulesOf(service("a"), func(s *iptables.Settings) { s.TCPLiberal = true })
	if o := only(t, walk(t, liberal, node1, p)); o.Fate != Forwarded {
		t.Errorf("liberal: %s", &o)
	}
}

// Where the policy of FORWARD is DROP, marked and established traffic passes (P34).
func TestP34ForwardPolicy(t *testing.T) {
	rules := rulesOf(service("c"))
	rules.DropForward()
	outside := packetOf(flowtest.Flow{From: "outside", To: vip + ":80"})
	if o := only(t, walk(t, rules, node1, outside)); o.Fate != Forwarded {
		t.Errorf("marked: %s", &o)
	}
	pod := packetOf(flowtest.Flow{From: "b", To: vip + ":80"})
	if o := only(t, walk(t, rules, node1, pod)); o.Fate != Dropped {
		t.Errorf("new and not marked: %s", &o)
	}
	pod.Flow = Flow{State: Established, Endpoint: netip.MustParseAddrPort("10.244.2.2:8080")}
	if o := only(t, walk(t, rules, node1, pod)); o.Fate != Forwarded {
		t.Errorf("established: %s", &o)
	}
}

// How Pods are told from others (P25): a Pod's own source stays, that of others does not.
func TestP25Local(t *testing.T) {
	for _, local := range []plan.Local{{CIDR: netip.MustParsePrefix(flowtest.PodCIDR)}, {Interface: "cni0"}, {Interface: "cni+"}, {}} {
		s := service("c")
		s.Local = local
		for _, rules := range []Rules{rulesOf(s), nftablesOf(t, s)} {
			for from, others := range map[string]bool{"b": false, "outside": true} {
				want := others && local != plan.Local{} // without a way to tell, nobody's is changed
				if o := only(t, predict(t, rules, flowtest.Flow{From: from, To: vip + ":80"})); o.Masqueraded != want {
					t.Errorf("%+v, from %s: %s", local, from, &o)
				}
			}
		}
	}
}

// SCTP has rules like the others, and its own port of that number (P37).
func TestP37SCTP(t *testing.T) {
	s := flowtest.Snapshot(flowtest.Planned(flowtest.Service("ns1", "svc1", vip), flowtest.Port, flowtest.Pods("a")...),
		flowtest.Planned(flowtest.Service("ns1", "svc2", vip, flowtest.Protocol(corev1.ProtocolSCTP)), flowtest.Port, flowtest.Pods("c")...))
	for _, rules := range []Rules{rulesOf(s), nftablesOf(t, s)} {
		for protocol, pod := range map[string]string{"tcp": "a", "sctp": "c"} {
			p := packetOf(flowtest.Flow{From: "b", To: vip + ":80"})
			p.Protocol = protocol
			if o := only(t, walk(t, rules, node1, p)); o.Endpoint.Addr().String() != flowtest.Addrs[pod] {
				t.Errorf("%s: %s", protocol, &o)
			}
		}
	}
}

// Loopback addresses: NodePorts answer the node there, and nobody else (P32).
func TestP32Localhost(t *testing.T) {
	rules := rulesOf(service("c", flowtest.NodePort(30080)))
	closed := node1
	closed.RouteLocalnet = false
	inside := packetOf(flowtest.Flow{From: "node", To: "127.0.0.1:30080"})
	attack := packetOf(flowtest.Flow{From: "outside", To: "127.0.0.1:10248"})
	for _, row := range []struct {
		name   string
		packet Packet
		node   Node
		want   Fate
	}{
		{"from the node", inside, node1, Forwarded},
		{"from the node, but routing does not allow it", inside, closed, Dropped},
		{"from outside, which KUBE-FIREWALL drops", attack, node1, Dropped},
		{"from outside, which routing drops", attack, closed, Dropped},
	} {
		if o := only(t, walk(t, rules, row.node, row.packet)); o.Fate != row.want {
			t.Errorf("%s: %s", row.name, &o)
		}
	}
	without := rulesOf(service("c", flowtest.NodePort(30080)), func(s *iptables.Settings) { s.LocalhostPort = false })
	if o := only(t, walk(t, without, closed, attack)); o.Fate != Dropped {
		t.Errorf("routing alone keeps others away: %s", &o)
	}
	// What DNAT sends to a loopback address on purpose, KUBE-FIREWALL lets pass.
	if f := (Flow{Endpoint: attack.Destination}); !f.is("DNAT") || !f.is("NEW") || (Flow{}).is("DNAT") {
		t.Error("DNAT is a state beside the others")
	}
	if o := only(t, walk(t, without, node1, inside)); o.Fate != Delivered || o.Endpoint.IsValid() {
		t.Errorf("without NodePorts on localhost: %s", &o)
	}
}

// NodePorts on chosen addresses only (P31).
func TestP31NodePortAddresses(t *testing.T) {
	rules := rulesOf(service("c", flowtest.NodePort(30080)), func(s *iptables.Settings) {
		s.NodePortIPs = []netip.Addr{netip.MustParseAddr(flowtest.NodeIP)}
	})
	for to, want := range map[string]Fate{flowtest.NodeIP: Forwarded, bridgeIP: Delivered} {
		if o := only(t, predict(t, rules, flowtest.Flow{From: "outside", To: to + ":30080"})); o.Fate != want {
			t.Errorf("%s: %s", to, &o)
		}
	}
}

// A ping of a ClusterIP meets no rule and is lost on its way (P17).
func TestP17Ping(t *testing.T) {
	p := packetOf(flowtest.Flow{From: "b", To: vip + ":0"})
	p.Protocol = "icmp"
	if o := only(t, walk(t, rulesOf(service("a")), node1, p)); o.Fate != Forwarded || o.Endpoint.IsValid() {
		t.Errorf("%s", &o)
	}
}

// The other family has rules of the same make (P38).
func TestP38IPv6(t *testing.T) {
	s := flowtest.Snapshot(flowtest.Planned(flowtest.Service("ns1", "svc1", "fd00:10:96::29", flowtest.NodePort(30080)), 80,
		flowtest.Endpoint{Addr: "fd00:10:244::2"}, flowtest.Endpoint{Addr: "fd00:10:244::3"}))
	rules := rulesOf(s, func(s *iptables.Settings) {
		s.Family, s.Local.CIDR = plan.IPv6, netip.MustParsePrefix("fd00:10:244::/56")
	})
	node := Node{Addrs: []netip.Addr{netip.MustParseAddr("fd00:10:30::11")}}
	for to, masqueraded := range map[string]bool{"[fd00:10:96::29]:80": false, "[fd00:10:30::11]:30080": true} {
		r := walk(t, rules, node, Packet{Protocol: "tcp", In: "cni0", Source: netip.MustParseAddr("fd00:10:244::9"), Destination: netip.MustParseAddrPort(to)})
		for _, o := range r.Outcomes {
			if len(r.Outcomes) != 2 || !o.Endpoint.IsValid() || o.Masqueraded != masqueraded {
				t.Errorf("%s: %s", to, &o)
			}
		}
	}
}

// The rules of IPv6 are read, too (P38).
func TestP38NFTables(t *testing.T) {
	pods := flowtest.Endpoint{Addr: "fd00:10:244:1::2", Node: flowtest.Here}
	s := flowtest.Snapshot(flowtest.Planned(flowtest.Service("ns1", "svc1", "fd00:10:96::41", flowtest.Affinity(60)), flowtest.Port, pods))
	s.Local = plan.Local{CIDR: netip.MustParsePrefix("fd00:10:244::/56")}
	rules := nftablesOf(t, s, func(s *nftables.Settings) {
		s.Family, s.ServiceCIDR = plan.IPv6, netip.MustParsePrefix("fd00:10:96::/112")
	})
	p := Packet{Source: netip.MustParseAddr("fd00:10:30::50"), Protocol: "tcp", Destination: netip.MustParseAddrPort("[fd00:10:96::41]:80"), In: "eth0"}
	o := only(t, walk(t, rules, Node{}, p))
	if o.Endpoint.String() != "[fd00:10:244:1::2]:8080" || o.Packet.Causes != OffCluster || len(o.Packet.Affinity) != 1 {
		t.Errorf("%s, remembered %v", &o, o.Packet.Affinity)
	}
	p.Affinity = o.Packet.Affinity
	if o := only(t, walk(t, rules, Node{}, p)); !strings.Contains(steps(o), "back to the endpoint that the client had") {
		t.Errorf("the client was not remembered:\n%s", steps(o))
	}
}

func steps(o Outcome) string {
	var b strings.Builder
	for _, s := range o.Steps() {
		if s.Matched() {
			s.appendTo(&b)
		}
	}
	return b.String()
}
