// Package iptables keeps the plan of a node's Services in the kernel by iptables, in
// the chains, rules and comments that kube-proxy writes.
//
// The first half is pure. service.go and base.go turn a plan into a model of chains
// and rules; rule.go spells a rule as kube-proxy writes it and as iptables-save shows
// it; state.go reads a kernel's rules; diff.go compares model and kernel and yields
// operations, leaves first and dispatch last, so that every prefix of them is a
// working set of rules; batch.go cuts them into restore inputs. The second half,
// applier.go and program.go, runs the programs.
//
// Upstream counterpart: pkg/proxy/iptables and pkg/util/iptables of
// kubernetes/kubernetes.
//
// Kubernetes: upstream rewrites KUBE-SERVICES, KUBE-NODEPORTS and the like as a whole
// in every sync, in one transaction with everything else. Here a Service inserts its
// own dispatch rules at the head of those chains and deletes them by what they say.
// Left out: the nfacct counters, which need a program of their own.
package iptables

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"orrery.example.org/proxy/plan"
)

// Rule is one rule: what a packet must be, and what becomes of it. The order of the
// matches is the order of the text.
type Rule struct {
	Match  []Match
	Target Target
}

// Match is one condition. Which of the value fields count depends on the Kind.
type Match struct {
	Kind   Kind
	Not    bool
	Prefix netip.Prefix // Source, Destination
	Bare   bool         // Prefix is an address, spelled without its length; Proto without its extension
	Number uint32       // DestPort, Mark; Recent: the seconds to look back, 0 to set; Statistic: 1/Number
	Text   string       // Comment, Proto, SrcType, DstType, CtState, Recent's list, InInterface, Set
}

// Kind is a kind of Match.
type Kind uint8

// The kinds of Match.
const (
	Comment       Kind = iota + 1
	Proto              // tcp, udp, sctp
	Source             // the source is in Prefix
	Destination        // the destination is in Prefix
	InInterface        // it came in by this interface; a trailing + is a wildcard
	DestPort           // the destination port
	SrcType            // the source is of this type: LOCAL
	DstType            // the destination is of this type: LOCAL
	CtState            // the conntrack state is one of these
	Mark               // these bits are set in the mark
	Statistic          // by chance, with probability 1/Number
	Recent             // the source was, or is now, put in this list
	Set                // these parts of the packet are in an ipset: "KUBE-CLUSTER-IP dst,dst"
	PhysdevIn          // it came in by a port of a bridge
	VirtualServer      // it belongs to a connection of ipvs to Prefix, with Text the protocol's number and Number the port
)

// Target is what a rule does: jump to a chain, or a built-in action with its option.
type Target struct {
	Name   string // "" does nothing, the rule only counts and comments
	Option string // "--to-destination", "--or-mark", …
	Value  string
}

// The built-in targets that rules of the model use.
const (
	targetAccept     = "ACCEPT"
	targetDrop       = "DROP"
	targetReject     = "REJECT"
	targetReturn     = "RETURN"
	targetMark       = "MARK"
	targetMasquerade = "MASQUERADE"
	targetDNAT       = "DNAT"
)

func comment(text string) Match     { return Match{Kind: Comment, Text: text} }
func proto(name string) Match       { return Match{Kind: Proto, Text: name} }
func source(p netip.Prefix) Match   { return Match{Kind: Source, Prefix: p} }
func sourceAddr(a netip.Addr) Match { return Match{Kind: Source, Prefix: single(a), Bare: true} }
func dest(p netip.Prefix) Match     { return Match{Kind: Destination, Prefix: p} }
func destAddr(a netip.Addr) Match   { return Match{Kind: Destination, Prefix: single(a), Bare: true} }
func destPort(n uint16) Match       { return Match{Kind: DestPort, Number: uint32(n)} }
func inInterface(name string) Match { return Match{Kind: InInterface, Text: name} }
func srcType(t string) Match        { return Match{Kind: SrcType, Text: t} }
func dstType(t string) Match        { return Match{Kind: DstType, Text: t} }
func ctState(states string) Match   { return Match{Kind: CtState, Text: states} }
func marked(bits uint32) Match      { return Match{Kind: Mark, Number: bits} }
func oneIn(n int) Match             { return Match{Kind: Statistic, Number: uint32(n)} }
func seenWithin(list string, s int) Match {
	return Match{Kind: Recent, Text: list, Number: uint32(s)}
}
func remember(list string) Match { return Match{Kind: Recent, Text: list} }

func not(m Match) Match { m.Not = true; return m }

func jump(chain string) Target { return Target{Name: chain} }

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// appendRestore spells the rule as kube-proxy does in its restore input, with a
// leading space and without the chain.
func (r Rule) appendRestore(b []byte) []byte {
	for _, m := range r.Match {
		b = m.appendRestore(b)
	}
	if r.Target.Name == "" {
		return b
	}
	b = append(append(b, " -j "...), r.Target.Name...)
	return appendOption(b, r.Target.Option, r.Target.Value)
}

func (m Match) appendRestore(b []byte) []byte {
	switch m.Kind {
	case Comment:
		return appendQuoted(append(b, " -m comment --comment "...), m.Text)
	case Proto:
		if !m.Bare {
			b = append(append(b, " -m "...), m.Text...)
		}
		return append(append(b, " -p "...), m.Text...)
	case Source:
		return m.appendAddr(b, "-s", m.Bare)
	case Destination:
		return m.appendAddr(b, "-d", m.Bare)
	case InInterface:
		return appendOption(m.appendNot(b), "-i", m.Text)
	case Mark:
		text := fmt.Sprintf("%#08x/%#08x", m.Number, m.Number)
		return appendOption(m.appendNot(append(b, " -m mark"...)), "--mark", text)
	case Statistic:
		b = append(b, " -m statistic --mode random --probability "...)
		return strconv.AppendFloat(b, 1/float64(m.Number), 'f', 10, 64)
	case Recent:
		b = append(append(b, " -m recent --name "...), m.Text...)
		return m.appendRecent(b)
	}
	return m.appendExtension(b)
}

// appendSave spells the rule as iptables-save does, with a leading space and without
// the chain: addresses, interface and protocol come first, defaults are written out.
func (r Rule) appendSave(b []byte, family plan.Family) []byte {
	for _, kind := range []Kind{Source, Destination, InInterface, Proto} {
		for _, m := range r.Match {
			if m.Kind == kind {
				b = m.appendHead(b)
			}
		}
	}
	for _, m := range r.Match {
		b = m.appendSave(b, family)
	}
	if r.Target.Name == "" {
		return b
	}
	b = append(append(b, " -j "...), r.Target.Name...)
	switch t := r.Target; {
	case t.Name == targetReject && family == plan.IPv6:
		return append(b, " --reject-with icmp6-port-unreachable"...)
	case t.Name == targetReject:
		return append(b, " --reject-with icmp-port-unreachable"...)
	case t.Option == "--or-mark":
		bits, _ := strconv.ParseUint(t.Value, 0, 32)
		return fmt.Appendf(b, " --set-xmark %#x/%#x", bits, bits)
	case t.Option == "--xor-mark":
		bits, _ := strconv.ParseUint(t.Value, 0, 32)
		return fmt.Appendf(b, " --set-xmark %#x/0x0", bits)
	}
	return appendOption(b, r.Target.Option, r.Target.Value)
}

// appendHead spells what iptables itself matches, ahead of all extensions.
func (m Match) appendHead(b []byte) []byte {
	switch m.Kind {
	case Source:
		return m.appendAddr(b, "-s", false)
	case Destination:
		return m.appendAddr(b, "-d", false)
	case InInterface:
		return appendOption(m.appendNot(b), "-i", m.Text)
	}
	return appendOption(b, "-p", m.Text)
}

func (m Match) appendSave(b []byte, family plan.Family) []byte {
	switch m.Kind {
	case Source, Destination, InInterface:
		return b
	case Comment:
		// Every comment of ours holds a slash or a space, so iptables-save quotes it.
		text := m.Text
		if strings.Contains(text, "'") {
			text = strings.ReplaceAll(text, "'", `\'`)
		}
		return append(append(append(b, ` -m comment --comment "`...), text...), '"')
	case Proto:
		if m.Bare {
			return b
		}
		return appendOption(b, "-m", m.Text)
	case Mark:
		text := fmt.Sprintf("%#x/%#x", m.Number, m.Number)
		return appendOption(m.appendNot(append(b, " -m mark"...)), "--mark", text)
	case Statistic:
		// The kernel keeps the probability as a multiple of 2^-31.
		p, _ := strconv.ParseFloat(strconv.FormatFloat(1/float64(m.Number), 'f', 10, 64), 64)
		b = append(b, " -m statistic --mode random --probability "...)
		return strconv.AppendFloat(b, math.Round(p*(1<<31))/(1<<31), 'f', 11, 64)
	case Recent:
		b = appendOption(m.appendRecent(append(b, " -m recent"...)), "--name", m.Text)
		if family == plan.IPv6 {
			return append(b, " --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource"...)
		}
		return append(b, " --mask 255.255.255.255 --rsource"...)
	}
	return m.appendExtension(b)
}

// appendExtension spells the matches that both texts write alike.
func (m Match) appendExtension(b []byte) []byte {
	switch m.Kind {
	case DestPort:
		return strconv.AppendUint(append(b, " --dport "...), uint64(m.Number), 10)
	case SrcType:
		return appendOption(m.appendNot(append(b, " -m addrtype"...)), "--src-type", m.Text)
	case DstType:
		return appendOption(m.appendNot(append(b, " -m addrtype"...)), "--dst-type", m.Text)
	case CtState:
		return appendOption(m.appendNot(append(b, " -m conntrack"...)), "--ctstate", m.Text)
	case Set:
		return appendOption(m.appendNot(append(b, " -m set"...)), "--match-set", m.Text)
	case PhysdevIn:
		return append(m.appendNot(append(b, " -m physdev"...)), " --physdev-is-in"...)
	case VirtualServer:
		return fmt.Appendf(b, " -m ipvs --vproto %s --vaddr %s --vport %d", m.Text, m.Prefix.Addr(), m.Number)
	}
	panic(fmt.Sprintf("iptables: match of unknown kind %d", m.Kind))
}

func (m Match) appendRecent(b []byte) []byte {
	if m.Number == 0 {
		return append(b, " --set"...)
	}
	b = strconv.AppendUint(append(b, " --rcheck --seconds "...), uint64(m.Number), 10)
	return append(b, " --reap"...)
}

func (m Match) appendAddr(b []byte, option string, bare bool) []byte {
	b = append(append(append(m.appendNot(b), ' '), option...), ' ')
	if bare {
		return m.Prefix.Addr().AppendTo(b)
	}
	return m.Prefix.AppendTo(b)
}

func (m Match) appendNot(b []byte) []byte {
	if m.Not {
		return append(b, " !"...)
	}
	return b
}

func appendOption(b []byte, option, value string) []byte {
	if option != "" {
		b = append(append(b, ' '), option...)
	}
	if value != "" {
		b = append(append(b, ' '), value...)
	}
	return b
}

// appendQuoted quotes a comment that holds a space. It never holds double quotes or
// backslashes: names of Services and their ports are DNS labels.
func appendQuoted(b []byte, text string) []byte {
	if !strings.Contains(text, " ") {
		return append(b, text...)
	}
	return append(append(append(b, '"'), text...), '"')
}
