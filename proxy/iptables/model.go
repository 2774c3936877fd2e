package iptables

import (
	"net/netip"

	"orrery.example.org/proxy/plan"
)

// Table is one of the kernel's tables.
type Table string

// The tables in use.
const (
	Nat    Table = "nat"
	Filter Table = "filter"
	Mangle Table = "mangle" // for the canary only
)

// Place is a chain in its table.
type Place struct {
	Table Table
	Chain string
}

// Chain is a chain with all its rules.
type Chain struct {
	Place
	Rules []Rule
}

// Placed is one rule in a chain that it shares with rules of others.
type Placed struct {
	Place
	Rule
}

// Base is what the data plane needs apart from any Service.
type Base struct {
	Chains []Chain  // wholly ours; those that Services put rules into are empty here
	Last   []Placed // what has to stay behind all rules that Services insert
	Jumps  []Placed // from the kernel's own chains, in the order in which to insert them at the head
}

// ServiceRules is what one Service needs.
type ServiceRules struct {
	Own      []Chain  // its own chains; each jumps only to earlier ones and to Base's
	Dispatch []Placed // the rules that lead to them, or that refuse
}

// Settings are what the rules depend on apart from the plan.
type Settings struct {
	Family        plan.Family
	MasqueradeAll bool       // masquerade everything that goes to a ClusterIP
	MasqueradeBit int        // the bit of the mark that asks for masquerading
	Local         plan.Local // how to tell a Pod of this node
	RandomFully   bool       // MASQUERADE understands --random-fully
	TCPLiberal    bool       // the kernel forgives packets out of window; do not drop invalid ones
	LocalhostPort bool       // NodePorts answer on 127.0.0.1 as well (IPv4)
	Terse         bool       // leave out comments per endpoint, as upstream does beyond 1000 endpoints
	// NodePortIPs are the addresses on which NodePorts answer; nil means all of the node's.
	NodePortIPs []netip.Addr
}

// fromHere is the condition "from a Pod of this node"; known is false where there is no
// way to tell, and the rules that need it are left out (P25).
func (s *Settings) fromHere() (m Match, known bool) {
	switch {
	case s.Local.CIDR.IsValid():
		return source(s.Local.CIDR), true
	case s.Local.Interface != "":
		return inInterface(s.Local.Interface), true
	}
	return Match{}, false
}

func (s *Settings) mark() uint32 { return 1 << s.MasqueradeBit }

// count adds the number of rules per table to total, times sign.
func (r *ServiceRules) count(total map[string]int, sign int) {
	for _, c := range r.Own {
		total[string(c.Table)] += sign * len(c.Rules)
	}
	for _, d := range r.Dispatch {
		total[string(d.Table)] += sign
	}
}

// count adds the number of rules in our own chains.
func (b *Base) count(total map[string]int) {
	for _, c := range b.Chains {
		total[string(c.Table)] += len(c.Rules)
	}
	for _, l := range b.Last {
		total[string(l.Table)]++
	}
}
