package packet

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

// chainMarkMasq marks what is to be masqueraded. Rules that jump to it have a reason.
const chainMarkMasq = "KUBE-MARK-MASQ"

// ipRule is a rule of proxy/iptables in its chain.
type ipRule struct {
	rule  iptables.Rule
	chain string
	port  plan.PortName
	ipvs  *IPVS // whose sets it looks into
}

// Try holds a packet against the conditions one by one. What chance lets by, the next
// rule gets.
func (r *ipRule) Try(p *Packet, node *Node) ([]Branch, error) {
	var passed []Branch
	share, after := Whole, p
	for i := range inKernelOrder(r.rule.Match) {
		m := r.rule.Match[i]
		switch {
		case m.Kind == iptables.Statistic && m.Number == 0:
			return nil, fmt.Errorf("1 of 0 is no probability")
		case m.Kind == iptables.Statistic:
			hit, n := int64(1), int64(m.Number)
			if m.Not {
				hit = n - 1
			}
			if hit < n {
				passed = append(passed, Branch{Share: share.Times(n-hit, n), Failed: i, After: after})
			}
			if hit == 0 {
				return passed, nil
			}
			share = share.Times(hit, n)
		case m.Kind == iptables.Recent && m.Number == 0:
			after = after.remember(Memory{List: m.Text, Source: after.Source})
		default:
			met, err := r.holds(m, after, node)
			if err != nil {
				return nil, err
			}
			if !met {
				return append(passed, Branch{Share: share, Failed: i, After: after}), nil
			}
		}
	}
	b, err := r.act(after)
	b.Share, b.Failed = share, Met
	return append([]Branch{b}, passed...), err
}

// act does what the rule's target says.
func (r *ipRule) act(p *Packet) (Branch, error) {
	b, t := Branch{After: p}, r.rule.Target
	var err error
	switch t.Name {
	case "":
		b.Do = Continue
	case "ACCEPT":
		b.Do = Accept
	case "DROP":
		b.Do = Drop
	case "REJECT":
		b.Do = Reject
	case "RETURN":
		b.Do = Return
	case "MARK":
		b.After, err = setMark(p, t)
	case "MASQUERADE":
		b.Do, b.After = Accept, p.masqueraded()
		if r.has(iptables.Set) {
			b.After = b.After.because(Hairpin)
		} else if p.Causes == 0 {
			b.After = b.After.because(MarkedBefore)
		}
	case "DNAT":
		var to netip.AddrPort
		to, err = netip.ParseAddrPort(t.Value)
		b.Do, b.After = Accept, p.to(to)
	case chainMarkMasq:
		b.Do, b.Chain, b.After = Jump, t.Name, p.because(r.cause())
	default:
		b.Do, b.Chain = Jump, t.Name
	}
	return b, err
}

func setMark(p *Packet, t iptables.Target) (*Packet, error) {
	bits, err := strconv.ParseUint(t.Value, 0, 32)
	if err != nil {
		return nil, err
	}
	switch t.Option {
	case "--or-mark":
		return p.marked(p.Mark | uint32(bits)), nil
	case "--xor-mark":
		return p.marked(p.Mark ^ uint32(bits)), nil
	}
	return nil, fmt.Errorf("MARK with the unknown option %q", t.Option)
}

// cause is why a rule that leads to KUBE-MARK-MASQ wants it.
func (r *ipRule) cause() Causes {
	switch {
	case strings.HasPrefix(r.chain, "KUBE-SEP-"):
		return Hairpin
	case strings.HasPrefix(r.chain, "KUBE-EXT-") && r.has(iptables.SrcType):
		return FromNode
	case strings.HasPrefix(r.chain, "KUBE-EXT-"):
		return FromOutside
	case r.ipvs != nil && !r.names("CLUSTER-IP"), r.ipvs != nil && r.chain != "KUBE-SERVICES":
		return FromOutside
	case r.has(iptables.Source), r.has(iptables.InInterface), r.names("src,dst"):
		return OffCluster
	}
	return MasqueradeAll
}

func (r *ipRule) has(kind iptables.Kind) bool {
	for _, m := range r.rule.Match {
		if m.Kind == kind {
			return true
		}
	}
	return false
}

// holds is the same for sets, which only their own rules know.
func (r *ipRule) holds(m iptables.Match, p *Packet, node *Node) (bool, error) {
	if m.Kind == iptables.Set && r.ipvs != nil {
		return r.ipvs.holds(m.Text, p) != m.Not, nil
	}
	return holds(m, p, node)
}

// names tells whether a condition on a set mentions a text.
func (r *ipRule) names(text string) bool {
	return slices.ContainsFunc(r.rule.Match, func(m iptables.Match) bool { return m.Kind == iptables.Set && strings.Contains(m.Text, text) })
}

// Why lists the conditions that held, or sets the one that did not against the packet.
func (r *ipRule) Why(p *Packet, _ *Node, failed int) string {
	if failed != Met {
		m := r.rule.Match[failed]
		return fmt.Sprintf("it is %s; the rule wants packets %s", actual(m, p), wanted(m))
	}
	var facts []string
	for i := range inKernelOrder(r.rule.Match) {
		m := r.rule.Match[i]
		if m.Kind == iptables.Comment || m.Kind == iptables.Recent && m.Number == 0 {
			continue
		}
		facts = append(facts, wanted(m))
	}
	if len(facts) == 0 {
		return "the rule takes every packet"
	}
	return "it is " + strings.Join(facts, ", ")
}

// Service is the port that the rule was made for; of a rule that looks into a set, that
// of the virtual server that the packet is for.
func (r *ipRule) Service(p *Packet) plan.PortName {
	if r.ipvs != nil && r.has(iptables.Set) {
		_, server, _ := r.ipvs.server(p)
		return server.Port
	}
	return r.port
}

// String is the rule as kube-proxy writes it.
func (r *ipRule) String() string { return r.rule.String() }
