package iptables

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"orrery.example.org/proxy/plan"
)

// op is a step of bringing the kernel to where it should be: lines for one table that
// have to take effect together. Between any two ops the rules work.
type op struct {
	table Table
	text  string // whole lines
	lines int
}

// differ compares what is with what should be and emits the ops that lead there. The
// order is what keeps every moment sound: a chain before what jumps to it, a refusal
// before a Service stops being served and until after it is served again, the jumps
// from the kernel's own chains when all else is in place, and last the removal of what
// nothing refers to any more.
type differ struct {
	family   plan.Family
	have     *State
	maxLines int // the most lines of one op
	emit     func(op) error

	wanted  map[Place]bool           // chains that should be
	spare   map[Place]map[string]int // rules of shared chains that nobody has asked for yet
	missing []op                     // rules to be put into shared chains
	buf     []byte
	err     error // the first error of emit; nothing is emitted after it
}

func newDiffer(have *State, family plan.Family, maxLines int, emit func(op) error) *differ {
	d := &differ{family: family, have: have, maxLines: maxLines, emit: emit,
		wanted: map[Place]bool{}, spare: map[Place]map[string]int{}}
	for place, rules := range have.shared {
		d.spare[place] = make(map[string]int, len(rules))
		for _, r := range rules {
			d.spare[place][r]++
		}
	}
	return d
}

// full brings the kernel to base plus the rules of all Services, and nothing else of ours.
func (d *differ) full(base Base, services iter.Seq[ServiceRules]) error {
	for _, c := range base.Chains {
		d.wanted[c.Place] = true
		if len(c.Rules) > 0 {
			d.chain(c)
		} else if !d.have.exists[c.Place] {
			d.do(c.Table, 1, ":"+c.Chain+" - [0:0]\n")
		}
	}
	for rules := range services {
		d.service(rules)
	}
	d.last(base.Last)
	for _, p := range base.Jumps {
		d.rule(p)
	}
	d.finish()
	return d.err
}

// change brings the kernel from the old rules of some Services to their new ones and
// leaves everything else alone.
func (d *differ) change(services []ServiceRules) error {
	for _, rules := range services {
		d.service(rules)
	}
	d.finish()
	return d.err
}

// service makes a Service's own chains right and notes the rules it wants elsewhere.
func (d *differ) service(rules ServiceRules) {
	for _, c := range rules.Own {
		d.chain(c)
	}
	for _, p := range rules.Dispatch {
		d.rule(p)
	}
}

// chain rewrites a chain unless it is right already.
func (d *differ) chain(c Chain) {
	d.wanted[c.Place] = true
	if digest, there := d.have.own[c.Place]; there && digest == digestOf(c, d.family, d.buf) {
		return
	}
	// A chain too long for one transaction begins as its tail, which is a working
	// chain: the probabilities of the last k rules share the traffic among k endpoints.
	head := max(0, len(c.Rules)-d.maxLines+1)
	d.buf = append(append(append(d.buf[:0], ':'), c.Chain...), " - [0:0]\n"...)
	for _, r := range c.Rules[head:] {
		d.buf = appendLine(d.buf, "-A ", c.Chain, r)
	}
	d.do(c.Table, len(c.Rules)-head+1, string(d.buf))
	for i := head - 1; i >= 0; i-- {
		d.do(c.Table, 1, string(appendLine(d.buf[:0], "-I ", c.Chain, c.Rules[i])))
	}
}

func appendLine(b []byte, command, chain string, r Rule) []byte {
	return append(r.appendRestore(append(append(b, command...), chain...)), '\n')
}

// rule asks for one rule anywhere in a shared chain.
func (d *differ) rule(p Placed) {
	if !d.take(p) {
		d.missing = append(d.missing, op{p.Table, string(appendLine(nil, "-I ", p.Chain, p.Rule)), 1})
	}
}

// take claims a rule that is there already.
func (d *differ) take(p Placed) bool {
	d.buf = p.appendSave(d.buf[:0], d.family)
	if d.spare[p.Place][string(d.buf)] == 0 {
		return false
	}
	d.spare[p.Place][string(d.buf)]--
	return true
}

// last asks for rules at the end of a shared chain. Where they are not, new ones are
// appended; the old ones, wherever they are, come first and thus are what -D finds.
func (d *differ) last(rules []Placed) {
	for i, p := range rules {
		have := d.have.shared[p.Place]
		at := len(have) - len(rules) + i
		d.buf = p.appendSave(d.buf[:0], d.family)
		if at < 0 || have[at] != string(d.buf) {
			for _, p := range rules {
				d.missing = append(d.missing, op{p.Table, string(appendLine(nil, "-A ", p.Chain, p.Rule)), 1})
			}
			return
		}
	}
	for _, p := range rules {
		d.take(p)
	}
}

// finish emits what concerns shared chains, and the removal of what is left over.
func (d *differ) finish() {
	for _, table := range []Table{Filter, Nat} {
		for _, o := range d.missing {
			if o.table == table {
				d.do(o.table, o.lines, o.text)
			}
		}
	}
	var stale []Place
	for place := range d.have.own {
		if !d.wanted[place] {
			stale = append(stale, place)
		}
	}
	for place := range d.have.exists {
		if !d.wanted[place] {
			stale = append(stale, place)
		}
	}
	for _, table := range []Table{Nat, Filter} {
		d.removeSpare(table)
	}
	slices.SortFunc(stale, comparePlaces)
	for _, p := range stale {
		d.do(p.Table, 1, ":"+p.Chain+" - [0:0]\n") // empty, so that it refers to no other
	}
	for _, p := range stale {
		d.do(p.Table, 1, "-X "+p.Chain+"\n")
	}
}

// removeSpare deletes the rules of shared chains that nobody asked for.
func (d *differ) removeSpare(table Table) {
	for _, place := range slices.SortedFunc(maps.Keys(d.spare), comparePlaces) {
		if place.Table != table || d.have.exists[place] && !d.wanted[place] {
			continue // another table's turn, or the chain goes as a whole
		}
		for _, rule := range slices.Sorted(maps.Keys(d.spare[place])) {
			for range d.spare[place][rule] {
				d.do(table, 1, "-D "+place.Chain+rule+"\n")
			}
		}
	}
}

func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Chain, b.Chain))
}

func (d *differ) do(table Table, lines int, text string) {
	if d.err == nil {
		d.err = d.emit(op{table, text, lines})
	}
}
