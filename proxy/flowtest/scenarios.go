package flowtest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/proxy/plan"
)

// Scenario is a set of Services and the flows that show what they promise. The names
// begin with the numbers of the behaviours.
type Scenario struct {
	Name  string
	Plans func() plan.Snapshot
	Flows []Flow
}

// NFTables is the outcome of a flow as nftables treats it: what iptables leaves to the
// default route, a wrong port of a ClusterIP, is refused at once (P16).
func NFTables(f Flow) Outcome {
	to := netip.MustParseAddrPort(f.To)
	if f.From != "c" && f.Want == Dropped && to.Addr() == netip.MustParseAddr(vip) && (to.Port() != 80 || f.UDP) {
		return Refused
	}
	return f.Want
}

// IPVS is the outcome of a flow as ipvs treats it. The addresses of Services are the
// node's own, so that it too refuses a wrong port at once. A policy Local knows no short
// cut for Pods of the node and for the node itself; and a ClusterIP that it leaves without
// endpoints has just none. All that is upstream's difference, and said at the flow.
func IPVS(f Flow) Outcome {
	if f.IPVS != nil {
		return *f.IPVS
	}
	return NFTables(f)
}

func ipvs(o Outcome) *Outcome { return &o }

const (
	vip      = "10.96.0.41"
	svcAddr  = vip + ":80"
	extAddr  = "10.99.0.1:80" // an externalIP, in the range that outside routes to the node
	lbAddr   = "172.30.100.1:80"
	nodeAddr = NodeIP + ":30080"
)

func one(pods string, tweaks ...Tweak) func() plan.Snapshot {
	return func() plan.Snapshot {
		return Snapshot(Planned(Service("ns1", "svc1", vip, tweaks...), Port, Pods(pods)...))
	}
}

// udpToo adds a second Service of the same address and port, for UDP and Pod b.
func udpToo() plan.Snapshot {
	return Snapshot(Planned(Service("ns1", "svc1", vip), Port, Pods("a")...),
		Planned(Service("ns1", "svc2", vip, Protocol(corev1.ProtocolUDP)), Port, Pods("b")...))
}

// with sets one endpoint apart from the others.
func with(first func(*Endpoint), pods string, tweaks ...Tweak) func() plan.Snapshot {
	return func() plan.Snapshot {
		endpoints := Pods(pods)
		first(&endpoints[0])
		return Snapshot(Planned(Service("ns1", "svc1", vip, tweaks...), Port, endpoints...))
	}
}

// zones has an endpoint for each of two.
func zones() plan.Snapshot {
	endpoints := Pods("ac")
	endpoints[0].Zone, endpoints[1].Zone = "east", "west"
	return Snapshot(Planned(Service("ns1", "svc1", vip, NodePort(30080)), Port, endpoints...))
}

func terminating(e *Endpoint) { e.Terminating = true }
func notReady(e *Endpoint)    { e.NotReady = true }

var everything = []Tweak{LoadBalancer(30080, "172.30.100.1"), ExternalIPs("10.99.0.1")}

// Scenarios are what every backend must do alike.
var Scenarios = []Scenario{
	{"P7 protocols have their own backends", udpToo, []Flow{
		{From: "c", To: svcAddr, Want: Dropped}, // node2 has no proxy
		{From: "b", To: svcAddr, Want: Kept("a")},
		{From: "a", To: svcAddr, UDP: true, Want: Kept("b")},
		{From: "b", To: vip + ":81", Want: Dropped},
	}},
	{"P8 P9 ClusterIP", one("ac"), []Flow{
		{From: "b", To: svcAddr, Want: Kept("ac")},
		{From: "node", To: svcAddr, Want: Served("ac")},
		{From: "outside", To: svcAddr, Want: Masqueraded("ac")},
	}},
	{"P10 P19 addresses for outside", one("ac", everything...), []Flow{
		{From: "outside", To: nodeAddr, Want: Masqueraded("ac")},
		{From: "b", To: nodeAddr, Want: Masqueraded("ac")},
		{From: "node", To: nodeAddr, Want: Served("ac")},
		{From: "outside", To: lbAddr, Want: Masqueraded("ac")},
		{From: "b", To: lbAddr, Want: Masqueraded("ac")},
		{From: "outside", To: extAddr, Want: Masqueraded("ac")},
		{From: "outside", To: NodeIP + ":30081", Want: Refused}, // nobody listens there
	}},
	{"P11 a load balancer that answers itself", one("ac", LoadBalancer(30080, "172.30.100.1"), Proxied), []Flow{
		{From: "b", To: lbAddr, Want: Dropped}, // it leaves for the load balancer, of which there is none
		{From: "outside", To: nodeAddr, Want: Masqueraded("ac")},
	}},
	{"P12 externalIPs have no source ranges", one("ac", ExternalIPs("10.99.0.1"), SourceRanges("192.0.2.0/24")), []Flow{
		{From: "outside", To: extAddr, Want: Masqueraded("ac")},
		{From: "b", To: extAddr, Want: Masqueraded("ac")},
	}},
	{"P13 no endpoints", one("", everything...), []Flow{
		{From: "b", To: svcAddr, Want: Refused}, {From: "node", To: svcAddr, Want: Refused},
		{From: "outside", To: svcAddr, Want: Refused}, {From: "outside", To: nodeAddr, Want: Refused},
		{From: "b", To: nodeAddr, Want: Refused}, {From: "outside", To: lbAddr, Want: Refused},
		{From: "b", To: lbAddr, Want: Refused}, {From: "outside", To: extAddr, Want: Refused},
	}},
	{"P13 no endpoints, UDP", one("", Protocol(corev1.ProtocolUDP)), []Flow{
		{From: "b", To: svcAddr, UDP: true, Want: Refused},
	}},
	{"P14 P18 external policy Local", one("ac", append(everything, ExternalLocal(30999))...), []Flow{
		{From: "outside", To: nodeAddr, Want: Kept("a")},
		{From: "outside", To: lbAddr, Want: Kept("a")},
		{From: "b", To: nodeAddr, Want: Kept("ac"), IPVS: ipvs(Kept("a"))},
		{From: "b", To: lbAddr, Want: Kept("ac"), IPVS: ipvs(Kept("a"))},
		{From: "node", To: nodeAddr, Want: Served("ac"), IPVS: ipvs(Served("a"))},
		{From: "b", To: svcAddr, Want: Kept("ac")},
	}},
	{"P14 P18 external policy Local, none here", one("c", append(everything, ExternalLocal(30999))...), []Flow{
		{From: "outside", To: nodeAddr, Want: Dropped},
		{From: "outside", To: lbAddr, Want: Dropped},
		{From: "b", To: lbAddr, Want: Kept("c")},
		{From: "outside", To: svcAddr, Want: Masqueraded("c")},
	}},
	{"P15 source ranges", one("ac", append(everything, SourceRanges("172.30.0.64/26"))...), []Flow{
		{From: "outside", To: lbAddr, Want: Dropped},
		{From: "b", To: lbAddr, Want: Dropped},
		{From: "outside", To: nodeAddr, Want: Masqueraded("ac")},
		{From: "b", To: svcAddr, Want: Kept("ac")},
	}},
	{"P6 P15 source ranges that admit", one("ac", append(everything, SourceRanges(" "+OutsideIP+"/32 ", "10.0.0.0/33"))...), []Flow{
		{From: "outside", To: lbAddr, Want: Masqueraded("ac")},
		{From: "b", To: lbAddr, Want: Dropped},
	}},
	{"P20 internal policy Local", one("ac", InternalLocal), []Flow{
		{From: "b", To: svcAddr, Want: Kept("a")},
		{From: "node", To: svcAddr, Want: Served("a")},
	}},
	{"P20 internal policy Local, none here", one("c", InternalLocal), []Flow{
		{From: "b", To: svcAddr, Want: Dropped, IPVS: ipvs(Refused)},
		{From: "node", To: svcAddr, Want: Dropped, IPVS: ipvs(Refused)},
	}},
	{"P22 hairpin", one("a", NodePort(30080)), []Flow{
		{From: "a", To: svcAddr, Want: Masqueraded("a")},
		{From: "a", To: nodeAddr, Want: Masqueraded("a")},
	}},
	{"P26 hints for zones", with(func(e *Endpoint) { e.Zone = "east" }, "ac"), []Flow{
		{From: "b", To: svcAddr, Want: Kept("ac")}, // one endpoint has no hint: none counts
	}},
	{"P26 hints for zones, of all", zones, []Flow{
		{From: "b", To: svcAddr, Want: Kept("a")},
		{From: "outside", To: nodeAddr, Want: Masqueraded("a")},
	}},
	{"P28 terminating while others are ready", with(terminating, "ac"), []Flow{{From: "b", To: svcAddr, Want: Kept("c")}}},
	{"P28 terminating, alone", with(terminating, "a"), []Flow{{From: "b", To: svcAddr, Want: Kept("a")}}},
	{"P28 not ready", with(notReady, "a"), []Flow{{From: "b", To: svcAddr, Want: Refused}}},
	{"P28 Local decides for itself", with(terminating, "ac", NodePort(30080), ExternalLocal(0)), []Flow{
		{From: "outside", To: nodeAddr, Want: Kept("a")},
		{From: "b", To: svcAddr, Want: Kept("c")},
	}},
}
