package iptables

import (
	"bytes"
	"hash/maphash"
	"io"
	"strings"

	"orrery.example.org/proxy/plan"
)

// State is what a kernel holds of our rules, or what a model says it should. Chains
// that we own are kept as a digest, which is enough to see that one differs and keeps
// a quarter of a million rules in a few megabytes. In the others each rule counts.
type State struct {
	own    map[Place]uint64
	shared map[Place][]string // rules as iptables-save spells them, without the chain
	exists map[Place]bool     // shared chains that are there
}

var digestSeed = maphash.MakeSeed()

func newState() *State {
	return &State{own: map[Place]uint64{}, shared: map[Place][]string{}, exists: map[Place]bool{}}
}

// extend takes one more rule into a chain's digest.
func extend(digest uint64, rule []byte) uint64 {
	return (digest ^ maphash.Bytes(digestSeed, rule)) * 0x100000001b3
}

// digestOf is the digest of a chain of the model.
func digestOf(c Chain, family plan.Family, buf []byte) uint64 {
	var d uint64
	for _, r := range c.Rules {
		buf = r.appendSave(buf[:0], family)
		d = extend(d, buf)
	}
	return d
}

// stateOf is the State that the rules of some Services make.
func stateOf(all []ServiceRules, family plan.Family) *State {
	st := newState()
	var buf []byte
	for _, rules := range all {
		for _, c := range rules.Own {
			st.own[c.Place] = digestOf(c, family, buf)
		}
		for _, d := range rules.Dispatch {
			st.shared[d.Place] = append(st.shared[d.Place], string(d.appendSave(nil, family)))
		}
	}
	return st
}

// saveReader reads the output of iptables-save as it comes, line by line.
type saveReader struct {
	*State
	wholly map[Place]bool // shared chains whose contents are all ours, from Base
	table  Table
	rest   []byte // the beginning of a line whose end has not come yet
}

// readSave returns a writer for the output of iptables-save that fills in a State.
func readSave(base Base) (*State, io.Writer) {
	r := &saveReader{State: newState(), wholly: map[Place]bool{}}
	for _, c := range base.Chains {
		r.wholly[c.Place] = len(c.Rules) > 0
	}
	return r.State, r
}

func (r *saveReader) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		if !whole {
			r.rest = append(r.rest, line...)
			return n, nil
		}
		if len(r.rest) > 0 {
			line = append(r.rest, line...)
			r.rest = r.rest[:0]
		}
		r.line(line)
		p = rest
	}
}

func (r *saveReader) line(line []byte) {
	switch {
	case bytes.HasPrefix(line, []byte("*")):
		r.table = Table(line[1:])
	case bytes.HasPrefix(line, []byte(":")):
		name, _, _ := bytes.Cut(line[1:], []byte(" "))
		place := Place{r.table, string(name)}
		if r.isOwn(place) {
			r.own[place] = 0
		} else if isSharedChain(place.Chain) {
			r.exists[place] = true
		}
	case bytes.HasPrefix(line, []byte("-A ")):
		name, _, _ := bytes.Cut(line[3:], []byte(" "))
		place, rule := Place{r.table, string(name)}, line[3+len(name):]
		switch {
		case r.isOwn(place):
			r.own[place] = extend(r.own[place], rule)
		case isSharedChain(place.Chain), isJumpOfOurs(rule):
			r.shared[place] = append(r.shared[place], string(rule))
		}
	}
}

// isOwn tells whether a chain is compared as a whole.
func (r *saveReader) isOwn(p Place) bool {
	return p.Table == Nat && isOwnChain(p.Chain) || r.wholly[p]
}

// isJumpOfOurs tells whether a rule of a foreign chain leads to one of ours.
func isJumpOfOurs(rule []byte) bool {
	_, target, found := strings.Cut(string(rule), " -j ")
	target, _, _ = strings.Cut(target, " ")
	return found && isSharedChain(target) && target != chainMarkMasq
}
