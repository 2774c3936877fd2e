package ipvs

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

// The chains, by upstream's names.
const (
	chainServices     = "KUBE-SERVICES"
	chainPostrouting  = "KUBE-POSTROUTING"
	chainMarkMasq     = "KUBE-MARK-MASQ"
	chainForward      = "KUBE-FORWARD"
	chainNodePort     = "KUBE-NODE-PORT"
	chainBalancer     = "KUBE-LOAD-BALANCER"
	chainFirewall     = "KUBE-PROXY-FIREWALL"
	chainSourceRanges = "KUBE-SOURCE-RANGES-FIREWALL"
	chainFilter       = "KUBE-IPVS-FILTER"     // keeps others from the node's own ports at the addresses of Services
	chainOutFilter    = "KUBE-IPVS-OUT-FILTER" // keeps the node from load balancers that do not admit it
)

type (
	rule  = iptables.Rule
	match = iptables.Match
)

func comment(text string) match { return match{Kind: iptables.Comment, Text: text} }
func proto(name string) match   { return match{Kind: iptables.Proto, Text: name, Bare: true} }
func not(m match) match         { m.Not = true; return m }
func local(kind iptables.Kind) match {
	return match{Kind: kind, Text: "LOCAL"}
}

// jump makes a rule.
func jump(target string, matches ...match) rule {
	return rule{Match: matches, Target: iptables.Target{Name: target}}
}

// ruler writes the chains of one family.
type ruler struct {
	*Settings
	shared *iptables.Settings
	local  plan.Local
}

// in looks a packet up in a set: by the parts that dirs names.
func (r ruler) in(set, dirs string) match {
	return match{Kind: iptables.Set, Text: KernelName(set, r.Family) + " " + dirs}
}

// about is in with the set's comment before it.
func (r ruler) about(set, dirs string) []match {
	return []match{comment(setsByName[set].Comment), r.in(set, dirs)}
}

// Rules are the chains and the jumps to them. They depend on no Service, but for those
// that keep the node itself from load balancers.
func (s *Settings) Rules(from plan.Local, noNode map[Virtual]bool) iptables.Base {
	r := ruler{s, s.iptables(from), from}
	chain := func(table iptables.Table, name string, rules ...rule) iptables.Chain {
		return iptables.Chain{Place: iptables.Place{Table: table, Chain: name}, Rules: rules}
	}
	return iptables.Base{
		Chains: []iptables.Chain{
			chain(iptables.Filter, chainForward, r.shared.ForwardRules()...),
			chain(iptables.Filter, chainNodePort, jump("ACCEPT", r.about(setHealthCheck, "dst")...)),
			chain(iptables.Filter, chainSourceRanges,
				jump("RETURN", r.about(setBalancerCIDR, "dst,dst,src")...),
				jump("RETURN", r.about(setBalancerSource, "dst,dst,src")...),
				jump("DROP")),
			chain(iptables.Filter, chainFirewall, jump(chainSourceRanges, r.about(setBalancerFirewall, "dst,dst")...)),
			chain(iptables.Filter, chainFilter, r.filter()...),
			chain(iptables.Filter, chainOutFilter, outFilter(noNode)...),
			chain(iptables.Nat, chainMarkMasq, r.shared.MarkRules()...),
			chain(iptables.Nat, chainBalancer, jump("RETURN", r.about(setBalancerLocal, "dst,dst")...), jump(chainMarkMasq)),
			chain(iptables.Nat, chainNodePort, r.nodePorts()...),
			chain(iptables.Nat, chainServices, r.services()...),
			chain(iptables.Nat, chainPostrouting,
				append([]rule{jump("MASQUERADE", r.about(setLoopBack, "dst,dst,src")...)}, r.shared.MasqueradeRules()...)...),
		},
		Jumps: jumps(),
	}
}

// services decides what is to be masqueraded, and lets pass what IPVS will take, lest
// rules of others get hold of it.
func (r ruler) services() []rule {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	if r.ipv6() {
		loopback = netip.MustParsePrefix("::1/128")
	}
	rules := []rule{
		jump("RETURN", match{Kind: iptables.Source, Prefix: loopback}),
		jump(chainBalancer, r.about(setBalancer, "dst,dst")...),
		jump(chainMarkMasq, r.clusterIPs()...),
		jump(chainMarkMasq, r.about(setExternalIP, "dst,dst")...),
	}
	for _, set := range []string{setExternalIP, setExternalIPLocal} {
		// From another machine, or to an address that is the node's own anyway.
		other := append(r.about(set, "dst,dst"), not(match{Kind: iptables.PhysdevIn}), not(local(iptables.SrcType)))
		rules = append(rules, jump("ACCEPT", other...), jump("ACCEPT", append(r.about(set, "dst,dst"), local(iptables.DstType))...))
	}
	return append(rules,
		jump(chainNodePort, local(iptables.DstType)),
		jump("ACCEPT", r.in(setClusterIP, "dst,dst")),
		jump("ACCEPT", r.in(setBalancer, "dst,dst")))
}

// clusterIPs are what is masqueraded on its way to a ClusterIP (P9, P24): what comes from
// outside of the cluster. Where nothing tells, it is what has a ClusterIP for its source,
// as the node's own connections do: they take the address that they go to.
func (r ruler) clusterIPs() []match {
	switch {
	case r.MasqueradeAll:
		return r.about(setClusterIP, "dst,dst")
	case r.local.CIDR.IsValid():
		return append(r.about(setClusterIP, "dst,dst"), not(match{Kind: iptables.Source, Prefix: r.local.CIDR}))
	case r.local.Interface != "":
		return append(r.about(setClusterIP, "dst,dst"), not(match{Kind: iptables.InInterface, Text: r.local.Interface}))
	}
	return r.about(setClusterIP, "src,dst")
}

// nodePorts masquerades what comes to NodePorts, unless the policy is Local (P18, P19).
func (r ruler) nodePorts() []rule {
	var rules []rule
	for _, p := range []struct{ name, set, dirs string }{{"tcp", "TCP", "dst"}, {"udp", "UDP", "dst"}, {"sctp", "SCTP-HASH", "dst,dst"}} {
		rules = append(rules,
			jump("RETURN", append([]match{proto(p.name)}, r.about(setNodePortLocal+p.set, p.dirs)...)...),
			jump(chainMarkMasq, append([]match{proto(p.name)}, r.about(setNodePort+p.set, p.dirs)...)...))
	}
	return rules
}

// filter refuses what comes to an address of a Service but to none of its ports: the
// node's own processes would answer.
func (r ruler) filter() []rule {
	var rules []rule
	for _, set := range []string{setBalancer, setClusterIP, setExternalIP, setExternalIPLocal} {
		rules = append(rules, jump("RETURN", r.in(set, "dst,dst")))
	}
	return append(rules, jump("RETURN", r.in(setHealthCheck, "dst")),
		jump("REJECT", match{Kind: iptables.CtState, Text: "NEW"}, r.in(setAddresses, "dst")))
}

// protocolNumbers as iptables-save spells them.
var protocolNumbers = map[string]string{"tcp": "6", "udp": "17", "sctp": "132"}

func outFilter(noNode map[Virtual]bool) []rule {
	var rules []rule
	for _, v := range slices.SortedFunc(maps.Keys(noNode), Virtual.compare) {
		addr := single(v.Addr.Addr())
		rules = append(rules, jump("DROP", match{Kind: iptables.Source, Prefix: addr, Bare: true}, match{
			Kind: iptables.VirtualServer, Prefix: addr, Text: protocolNumbers[v.Protocol], Number: uint32(v.Addr.Port()),
		}))
	}
	return rules
}

func (v Virtual) compare(w Virtual) int {
	return cmp.Or(v.Addr.Compare(w.Addr), cmp.Compare(v.Protocol, w.Protocol))
}

// jumps lead from the kernel's chains to ours.
func jumps() []iptables.Placed {
	var all []iptables.Placed
	for _, j := range []struct {
		table             iptables.Table
		from, to, comment string
	}{
		{iptables.Nat, "OUTPUT", chainServices, "kubernetes service portals"},
		{iptables.Nat, "PREROUTING", chainServices, "kubernetes service portals"},
		{iptables.Nat, "POSTROUTING", chainPostrouting, "kubernetes postrouting rules"},
		{iptables.Filter, "FORWARD", chainForward, "kubernetes forwarding rules"},
		{iptables.Filter, "INPUT", chainNodePort, "kubernetes health check rules"},
		{iptables.Filter, "INPUT", chainFirewall, "kube-proxy firewall rules"},
		{iptables.Filter, "FORWARD", chainFirewall, "kube-proxy firewall rules"},
		{iptables.Filter, "INPUT", chainFilter, "kubernetes ipvs access filter"},
		{iptables.Filter, "OUTPUT", chainOutFilter, "kubernetes ipvs access filter"},
	} {
		all = append(all, iptables.Placed{Place: iptables.Place{Table: j.table, Chain: j.from}, Rule: jump(j.to, comment(j.comment))})
	}
	return all
}
