package iptables

import (
	"bytes"
	"iter"
	"slices"

	"orrery.example.org/proxy/plan"
)

// Text is the restore input that makes the whole data plane from nothing, laid out as
// kube-proxy's: for people to read, and for tests to compare.
func (s *Settings) Text(services iter.Seq[*plan.Service]) string {
	base := s.Base()
	var own []Chain
	placed := map[Place][]Rule{}
	for svc := range services {
		rules := s.Service(svc)
		own = append(own, rules.Own...)
		for _, d := range rules.Dispatch {
			placed[d.Place] = append(placed[d.Place], d.Rule)
		}
	}
	for _, l := range base.Last {
		placed[l.Place] = append(placed[l.Place], l.Rule)
	}
	var chains []Chain
	for _, c := range base.Chains {
		if c.Chain != chainCanary {
			chains = append(chains, Chain{c.Place, slices.Concat(c.Rules, placed[c.Place])})
		}
	}
	return Text(append(chains, own...))
}

// Text is the restore input that makes some chains.
func Text(chains []Chain) string {
	var b []byte
	for _, table := range []Table{Filter, Nat} {
		b = appendTable(b, table, slices.DeleteFunc(slices.Clone(chains), func(c Chain) bool { return c.Table != table }))
	}
	return string(b)
}

func appendTable(b []byte, table Table, chains []Chain) []byte {
	b = append(append(append(b, '*'), table...), '\n')
	for _, c := range chains {
		b = append(append(append(b, ':'), c.Chain...), " - [0:0]\n"...)
	}
	for _, c := range chains {
		for _, r := range c.Rules {
			b = appendLine(b, "-A ", c.Chain, r)
		}
	}
	return append(b, "COMMIT\n"...)
}

// String is the rule as kube-proxy writes it, without its chain.
func (r Rule) String() string { return string(bytes.TrimSpace(r.appendRestore(nil))) }
