package nftables

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

var plane = Plane{
	Name: "nftables", Program: "nft", Cleanup: CleanupAll,
	New: func(h *host.Host, k Knobs) Backend {
		serviceCIDR := netip.MustParsePrefix("10.96.0.0/12")
		if k.Family == plan.IPv6 {
			serviceCIDR = SixPrefix(serviceCIDR)
		}
		return New(Config{Host: h, Log: slog.New(slog.DiscardHandler), Settings: Settings{
			Family: k.Family, MasqueradeAll: k.MasqueradeAll, MasqueradeBit: 14, ServiceCIDR: serviceCIDR}})
	},
	Small:   func(b Backend) { b.(*Applier).limit = 1000 },
	Listing: listing, Ours: TableName,
	Foreign: []string{"nft add table ip mine"},
	Expect:  NFTables,
	Ping:    Unreachable,
}

// listing is what nft lists, in an order of its own.
func listing(t testing.TB, h *host.Host) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(Run(t, h, "nft list ruleset")) {
		for part := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSpace(line), "elements = {"), ",") {
			lines = append(lines, strings.Trim(part, " \t\n}"))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestPlanes(t *testing.T) { Suite(t, plane) }

func TestAsUser(t *testing.T) {
	AsUser(t, "^(TestPlanes|TestP45P48Repairs|TestTooLongForAUser)$/^(nftables)?$/^(Flows|P45.*|P40.*|P21.*)$")
}

func BenchmarkPlanes(b *testing.B) {
	b.Run("Full", func(b *testing.B) { BenchmarkFull(b, plane) })
	b.Run("Change", func(b *testing.B) { BenchmarkChange(b, plane) })
}

// Whatever somebody else does to the table is seen at once, and made good.
func TestP45P48Repairs(t *testing.T) {
	s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), Affinity(60)), Port, Pods("abc")...),
		Planned(Service("ns1", "svc2", "10.96.0.42"), Port),
		Planned(Service("ns1", "svc3", "10.96.0.43", LoadBalancer(30081, "172.30.100.1"), SourceRanges("10.0.0.0/8")), Port, Pods("a")...))
	var all []Damage
	for _, command := range []string{
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
		all = append(all, Damage{Commands: []string{"nft " + command}, Flush: true})
	}
	Repairs(t, plane, s, all)
}

// What others do to their own tables makes the check longer, not different.
func TestIntactBesideOthers(t *testing.T) {
	plane.Have(t)
	h := NewPlace(t, "node")
	a := plane.Start(t, h, Knobs{})
	s := Many(5, 3)
	a.Sync(t, s)
	for i := range 3 {
		Run(t, h, fmt.Sprintf("nft add table ip mine%d", i))
		a.Holds(t, s)
		next := Many(6+i, 3)
		a.Move(t, s, next)
		s = next
		a.Holds(t, s)
	}
}

// In a user namespace the kernel refuses large transactions; smaller ones must do.
func TestTooLongForAUser(t *testing.T) {
	plane.Have(t)
	a := plane.Start(t, NewPlace(t, "node"), Knobs{})
	applier := a.Backend.(*Applier)
	applier.limit = 100 * bytesPerTransaction
	s := Many(2000, 5)
	a.Sync(t, s)
	if applier.limit >= 100*bytesPerTransaction {
		t.Error("no transaction was too large: the test proves nothing")
	}
	a.Holds(t, s)
}

// What a learner sees of a small cluster, one Service of each sort.
func TestP42P43Listing(t *testing.T) {
	plane.Have(t)
	h := NewPlace(t, "node")
	s := Snapshot(
		Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("a")...),
		Planned(Service("ns2", "svc2", "10.96.0.42", LoadBalancer(30080, "172.30.100.1"), SourceRanges("172.30.0.0/24"), ExternalLocal(31000)), Port, Pods("ac")...),
		Planned(Service("ns3", "svc3", "10.96.0.43", Affinity(10800)), Port, Pods("abc")...),
		Planned(Service("ns4", "svc4", "10.96.0.44"), Port),
	)
	s.NodePortIPs = []netip.Addr{netip.MustParseAddr(NodeIP)}
	plane.Start(t, h, Knobs{Family: plan.IPv4}).Sync(t, s)
	Golden(t, "listing", inOrder(Run(t, h, "nft list table ip "+TableName)))
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
