package iptables

import (
	"fmt"
	"net/netip"
)

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// Base is the part of the rules that does not depend on any Service.
func (s *Settings) Base() Base {
	b := Base{Chains: []Chain{
		{Place{Mangle, chainCanary}, nil},
		{Place{Nat, chainCanary}, nil},
		{Place{Filter, chainCanary}, nil},
		{Place{Filter, chainServices}, nil},
		{Place{Filter, chainExternalServices}, nil},
		{Place{Filter, chainForward}, s.ForwardRules()},
		{Place{Filter, chainNodePorts}, nil},
		{Place{Filter, chainProxyFirewall}, nil},
		{Place{Filter, chainFirewall}, s.firewallRules()},
		{Place{Nat, chainMarkMasq}, s.MarkRules()},
		{Place{Nat, chainNodePorts}, nil},
		{Place{Nat, chainServices}, nil},
		{Place{Nat, chainPostrouting}, s.MasqueradeRules()},
	}}
	b.Last = s.nodePortJumps()
	b.Jumps = jumps()
	return b
}

// MarkRules are those of KUBE-MARK-MASQ, which ask for masquerading.
func (s *Settings) MarkRules() []Rule {
	return []Rule{{nil, Target{targetMark, "--or-mark", fmt.Sprintf("%#08x", s.mark())}}}
}

// MasqueradeRules are those of KUBE-POSTROUTING, which masquerade what is marked (P23).
func (s *Settings) MasqueradeRules() []Rule {
	masquerade := Target{Name: targetMasquerade}
	if s.RandomFully {
		masquerade.Option = "--random-fully"
	}
	return []Rule{
		{[]Match{not(marked(s.mark()))}, jump(targetReturn)},
		// The mark goes, lest the packet is masqueraded again should it come by again.
		{nil, Target{targetMark, "--xor-mark", fmt.Sprintf("%#08x", s.mark())}},
		{[]Match{comment("kubernetes service traffic requiring SNAT")}, masquerade},
	}
}

// ForwardRules let Service traffic pass where the policy of FORWARD is to drop (P34).
func (s *Settings) ForwardRules() []Rule {
	var rules []Rule
	if !s.TCPLiberal {
		// A packet that conntrack does not understand would be forwarded without NAT, and
		// the RST that answers it would end a healthy connection (P33).
		rules = append(rules, Rule{[]Match{ctState("INVALID")}, jump(targetDrop)})
	}
	return append(rules,
		Rule{[]Match{comment("kubernetes forwarding rules"), marked(s.mark())}, jump(targetAccept)},
		Rule{[]Match{comment("kubernetes forwarding conntrack rule"), ctState("RELATED,ESTABLISHED")}, jump(targetAccept)},
	)
}

// firewallRules keep other machines from the node's loopback addresses, which
// route_localnet would open to them (P32, CVE-2020-8558).
func (s *Settings) firewallRules() []Rule {
	if s.ipv6() || !s.LocalhostPort {
		return nil
	}
	return []Rule{{[]Match{
		comment("block incoming localnet connections"), dest(loopback4), not(source(loopback4)),
		not(ctState("RELATED,ESTABLISHED,DNAT")),
	}, jump(targetDrop)}}
}

// nodePortJumps lead to the NodePorts. They come last so that an address of a Service
// that is also one of the node's keeps its own meaning (P10, P31).
func (s *Settings) nodePortJumps() []Placed {
	last := comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
	place := Place{Nat, chainServices}
	if s.NodePortIPs == nil {
		match := []Match{last, dstType("LOCAL")}
		if s.ipv6() {
			match = append(match, not(dest(loopback6)))
		} else if !s.LocalhostPort {
			match = append(match, not(dest(loopback4)))
		}
		return []Placed{{place, Rule{match, jump(chainNodePorts)}}}
	}
	var all []Placed
	for _, ip := range s.NodePortIPs {
		if ip.IsLoopback() && (s.ipv6() || !s.LocalhostPort) {
			continue
		}
		all = append(all, Placed{place, Rule{[]Match{last, destAddr(ip)}, jump(chainNodePorts)}})
	}
	return all
}

// jumps lead from the kernel's chains to ours.
func jumps() []Placed {
	isNew := []Match{ctState("NEW")}
	rows := []struct {
		table    Table
		from, to string
		extra    []Match
		comment  string
	}{
		{Filter, "INPUT", chainExternalServices, isNew, "kubernetes externally-visible service portals"},
		{Filter, "FORWARD", chainExternalServices, isNew, "kubernetes externally-visible service portals"},
		{Filter, "INPUT", chainNodePorts, nil, "kubernetes health check service ports"},
		{Filter, "FORWARD", chainServices, isNew, "kubernetes service portals"},
		{Filter, "OUTPUT", chainServices, isNew, "kubernetes service portals"},
		{Filter, "FORWARD", chainForward, nil, "kubernetes forwarding rules"},
		{Filter, "INPUT", chainProxyFirewall, isNew, "kubernetes load balancer firewall"},
		{Filter, "OUTPUT", chainProxyFirewall, isNew, "kubernetes load balancer firewall"},
		{Filter, "FORWARD", chainProxyFirewall, isNew, "kubernetes load balancer firewall"},
		{Nat, "OUTPUT", chainServices, nil, "kubernetes service portals"},
		{Nat, "PREROUTING", chainServices, nil, "kubernetes service portals"},
		{Nat, "POSTROUTING", chainPostrouting, nil, "kubernetes postrouting rules"},
		{Filter, "INPUT", chainFirewall, nil, ""},
		{Filter, "OUTPUT", chainFirewall, nil, ""},
	}
	var all []Placed
	for _, r := range rows {
		match := append([]Match(nil), r.extra...)
		if r.comment != "" {
			match = append(match, comment(r.comment))
		}
		all = append(all, Placed{Place{r.table, r.from}, Rule{match, jump(r.to)}})
	}
	return all
}
