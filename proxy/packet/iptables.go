package packet

import (
	"iter"
	"slices"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

// IPTables are the rules of proxy/iptables, laid out as the kernel holds them after they
// were all made at once. Services that are added later are inserted before the others,
// which matters only where two Services claim one address.
type IPTables struct {
	chains map[iptables.Place]*Chain
}

// NewIPTables lays out the rules that the iptables backend makes of a plan.
func NewIPTables(settings iptables.Settings, services iter.Seq[*plan.Service]) *IPTables {
	t := &IPTables{chains: map[iptables.Place]*Chain{}}
	var dispatch []owned
	for svc := range services {
		dispatch = append(dispatch, t.service(&settings, svc)...)
	}
	t.lay(settings.Base(), dispatch)
	return t
}

// lay adds what does not belong to one Service alone, and the rules of Services in it.
// Those and jumps are inserted at the head one after the other, so that the last one
// comes first.
func (t *IPTables) lay(base iptables.Base, inserted []owned) {
	for _, c := range base.Chains {
		t.add(plan.PortName{}, c.Place, c.Rules...)
	}
	for _, p := range base.Jumps {
		inserted = append(inserted, owned{Placed: p})
	}
	for _, o := range slices.Backward(inserted) {
		t.add(o.port, o.Place, o.Rule)
	}
	for _, p := range base.Last {
		t.add(plan.PortName{}, p.Place, p.Rule)
	}
}

// owned is a rule in a shared chain, and the port of the Service that it is there for.
type owned struct {
	iptables.Placed
	port plan.PortName
}

// service adds the chains of one Service and returns its rules in shared ones. The model
// is made port by port to know which port a rule belongs to.
func (t *IPTables) service(settings *iptables.Settings, svc *plan.Service) []owned {
	var dispatch []owned
	for i := range svc.Ports {
		one := *svc
		one.Ports = svc.Ports[i : i+1]
		rules, port := settings.Service(&one), svc.Ports[i].Name
		for _, c := range rules.Own {
			t.add(port, c.Place, c.Rules...)
		}
		for _, d := range rules.Dispatch {
			dispatch = append(dispatch, owned{d, port})
		}
	}
	return dispatch
}

// add appends rules to a chain, which it makes if there is none yet.
func (t *IPTables) add(port plan.PortName, place iptables.Place, rules ...iptables.Rule) {
	c := t.chains[place]
	if c == nil {
		c = &Chain{Table: string(place.Table), Name: place.Chain, NAT: place.Table == iptables.Nat}
		t.chains[place] = c
	}
	for _, r := range rules {
		c.Rules = append(c.Rules, &ipRule{rule: r, chain: place.Chain, port: port})
	}
}

// tables are the tables with a chain at each hook in the order in which the kernel asks
// them. conntrack looks at a packet between raw and mangle of PREROUTING and OUTPUT.
var tables = map[Hook][]iptables.Table{
	Prerouting:  {"raw", iptables.Mangle, iptables.Nat},
	Input:       {iptables.Mangle, iptables.Filter, iptables.Nat},
	Forward:     {iptables.Mangle, iptables.Filter},
	Output:      {"raw", iptables.Mangle, iptables.Nat, iptables.Filter},
	Postrouting: {iptables.Mangle, iptables.Nat},
}

// Base are the kernel's own chains at a hook, as far as rules are in them. The nat table
// translates flows that conntrack knows whether it has rules or not.
func (t *IPTables) Base(hook Hook) []*Chain {
	var all []*Chain
	for _, table := range tables[hook] {
		if c := t.chains[iptables.Place{Table: table, Chain: hook.String()}]; c != nil {
			all = append(all, c)
		}
	}
	return all
}

// Chain is a chain by its table and name.
func (t *IPTables) Chain(table, name string) *Chain {
	return t.chains[iptables.Place{Table: iptables.Table(table), Chain: name}]
}

// DropForward gives the filter table's FORWARD chain the policy DROP, as Docker and many
// firewalls do (P34).
func (t *IPTables) DropForward() {
	t.chains[iptables.Place{Table: iptables.Filter, Chain: Forward.String()}].Drop = true
}
