package iptables

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

func settings() Settings {
	return Settings{
		Family: plan.IPv4, MasqueradeBit: 14, LocalhostPort: true, RandomFully: true,
		Local: plan.Local{CIDR: netip.MustParsePrefix("10.0.0.0/8")},
	}
}

// The names are hashes that tools and people compare with a real cluster's (P41).
func TestP41ChainNames(t *testing.T) {
	name := plan.PortName{Name: plan.Name{Namespace: "ns1", Name: "svc1"}, Port: "p80", Protocol: corev1.ProtocolTCP}
	if got, want := chainHash(name, ""), "XPGD46QRK7WJZT7O"; got != want {
		t.Errorf("hash of %s is %s, want %s", name, got, want)
	}
	ep := netip.MustParseAddrPort("10.180.0.1:80")
	if got, want := endpointChain(name, ep), "KUBE-SEP-SXIVWICOYRO3J4NJ"; got != want {
		t.Errorf("chain of %s is %s, want %s", ep, got, want)
	}
	if n := len(endpointChain(name, ep)); n > 28 {
		t.Errorf("a chain name has %d characters, the kernel takes 28", n)
	}
}

// One Service of each sort, in the words of kube-proxy (P42). The Services are those of
// upstream's TestOverallIPTablesRules, so that the two can be laid side by side.
func TestP42Text(t *testing.T) {
	s := settings()
	got := s.Text(Snapshot(
		Planned(Service("ns1", "svc1", "172.30.0.41"), 80, Endpoint{Addr: "10.180.0.1"}),
		Planned(Service("ns2", "svc2", "172.30.0.42", LoadBalancer(3001, "1.2.3.4"), ExternalIPs("192.168.99.22"), ExternalLocal(30000)), 80,
			Endpoint{Addr: "10.180.0.2"}),
		Planned(Service("ns3", "svc3", "172.30.0.43", NodePort(3003)), 80, Endpoint{Addr: "10.180.0.3"}),
		Planned(Service("ns4", "svc4", "172.30.0.44", ExternalIPs("192.168.99.33")), 80,
			Endpoint{Addr: "10.180.0.4"}, Endpoint{Addr: "10.180.0.5", Node: Here}),
		Planned(Service("ns5", "svc5", "172.30.0.45", LoadBalancer(3002, "5.6.7.8"), SourceRanges(" 203.0.113.0/25"), Affinity(10800)), 80,
			Endpoint{Addr: "10.180.0.3"}),
		Planned(Service("ns6", "svc6", "172.30.0.46"), 80),
	).All())
	Golden(t, "overall", got)
}

func TestTextVariants(t *testing.T) {
	v6 := settings()
	v6.Family, v6.Local.CIDR = plan.IPv6, netip.MustParsePrefix("fd00:10:244::/56")
	byBridge := settings()
	byBridge.Local, byBridge.MasqueradeBit, byBridge.RandomFully, byBridge.TCPLiberal = plan.Local{Interface: "cni0"}, 15, false, true
	all := settings()
	all.MasqueradeAll, all.LocalhostPort, all.Terse = true, false, true
	some := settings()
	some.Local, some.LocalhostPort = plan.Local{}, false
	some.NodePortIPs = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("172.30.0.11")}
	here1 := Endpoint{Addr: "10.244.1.2", Node: Here}
	there := Endpoint{Addr: "10.244.2.2", Node: "node2"}
	for name, row := range map[string]struct {
		Settings
		svc *plan.Service
	}{
		"ipv6": {v6, Planned(Service("ns1", "svc1", "fd00:10:96::29", NodePort(30080), Affinity(60)), 80,
			Endpoint{Addr: "fd00:10:244::2"}, Endpoint{Addr: "fd00:10:244::3"})},
		"local-both-bridge":    {byBridge, Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), ExternalLocal(0), InternalLocal), 80, here1, there)},
		"local-none-here":      {byBridge, Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), ExternalLocal(0), InternalLocal), 80, there)},
		"masquerade-all-terse": {all, Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080)), 80, here1, there)},
		"no-detector":          {some, Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), ExternalLocal(0)), 80, here1, there)},
		"udp-no-endpoints":     {settings(), Planned(Service("ns1", "svc1", "10.96.0.41", Protocol(corev1.ProtocolUDP), LoadBalancer(30053, "172.30.100.1")), 53)},
		"source-range-of-node": {settings(), Planned(Service("ns1", "svc1", "10.96.0.41", LoadBalancer(30080, "172.30.100.1"), SourceRanges("172.30.0.0/24")), 80, here1)},
	} {
		t.Run(name, func(t *testing.T) { Golden(t, name, row.Text(Snapshot(row.svc).All())) })
	}
}

// The counts that upstream's users know from large clusters (P44).
func TestP44RuleCount(t *testing.T) {
	for _, row := range []struct {
		name               string
		svc                *corev1.Service
		endpoints          int
		nat, filter, extra int
	}{
		{name: "ClusterIP", svc: Service("ns", "a", "10.96.0.1"), endpoints: 5, nat: 2 + 3*5},
		{name: "no endpoints", svc: Service("ns", "a", "10.96.0.1"), filter: 1},
		{name: "load balancer", svc: Service("ns", "a", "10.96.0.1", LoadBalancer(30001, "1.2.3.4"), ExternalIPs("5.6.7.8"), SourceRanges("9.0.0.0/8")),
			endpoints: 3, nat: 9 + 3*3, filter: 1},
		{name: "load balancer, no endpoints", svc: Service("ns", "a", "10.96.0.1", LoadBalancer(30001, "1.2.3.4"), ExternalIPs("5.6.7.8")), filter: 4},
	} {
		s := settings()
		rules := s.Service(Planned(row.svc, 80, Endpoints(0, row.endpoints)...))
		got := map[string]int{}
		rules.count(got, 1)
		if got["nat"] != row.nat || got["filter"] != row.filter {
			t.Errorf("%s: %d nat and %d filter rules, want %d and %d", row.name, got["nat"], got["filter"], row.nat, row.filter)
		}
	}
}

// In a large cluster the rules of endpoints have no comments (P47).
func TestP47LargeCluster(t *testing.T) {
	s := settings()
	all := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), 80, Endpoint{Addr: "10.180.0.1"}))
	for _, s.Terse = range []bool{false, true} {
		if told := strings.Contains(s.Text(all.All()), "ns1/svc1:p80 -> 10.180.0.1:80"); told == s.Terse {
			t.Errorf("large %v: comments of endpoints %v", s.Terse, told)
		}
	}
}

func TestP8Probability(t *testing.T) {
	for n, want := range map[int]string{2: "0.5000000000", 3: "0.3333333333", 7: "0.1428571429", 1000: "0.0010000000"} {
		got := string(oneIn(n).appendRestore(nil))
		if !strings.HasSuffix(got, " "+want) {
			t.Errorf("1/%d is spelled %q, want %s", n, got, want)
		}
	}
}

// Every chain a rule jumps to is there, and was made before: a batch may end anywhere.
func TestChainsComeBeforeJumps(t *testing.T) {
	s := settings()
	base := s.Base()
	known := map[string]bool{}
	for _, c := range base.Chains {
		known[c.Chain] = true
	}
	rules := s.Service(Planned(Service("ns", "a", "10.96.0.1", LoadBalancer(30001, "1.2.3.4"), ExternalIPs("5.6.7.8"),
		SourceRanges("9.0.0.0/8"), ExternalLocal(30002), InternalLocal, Affinity(60)), 80,
		Endpoint{Addr: "10.244.1.2", Node: Here}, Endpoint{Addr: "10.244.2.2", Node: "node2"}))
	check := func(where string, r Rule) {
		if strings.HasPrefix(r.Target.Name, "KUBE-") && !known[r.Target.Name] {
			t.Errorf("%s jumps to %s, which comes later or never", where, r.Target.Name)
		}
	}
	for _, c := range rules.Own {
		for _, r := range c.Rules {
			check(c.Chain, r)
		}
		known[c.Chain] = true
	}
	for _, d := range rules.Dispatch {
		check(d.Chain, d.Rule)
	}
}
