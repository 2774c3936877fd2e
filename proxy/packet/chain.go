package packet

import (
	"fmt"
	"math/big"
	"slices"
)

// maxDepth is how deep chains may call each other, as in nf_tables. It also ends a walk
// in rules that run in a circle, which the kernel would have refused.
const maxDepth = 16

// history is one possible past of the packet. Where chance decides there are several.
// A history is copied, never shared; what it points at never changes.
type history struct {
	packet  *Packet
	chance  *big.Rat
	trail   *trail
	hook    Hook
	settled [2]bool // conntrack has decided about the destination, about the source
	fate    Fate    // 0 while it is open
	resent  bool    // IPVS has sent it, and will not look at it again
	position
}

// position is where in the rules a history stands.
type position struct {
	chain  *Chain // nil when it has left the base chain
	next   int    // the rule to try next
	depth  int
	caller *position // where the chain returns to; nil for the policy of the base chain
}

// cross takes a history through a base chain and returns all that may come of it.
func (w *walker) cross(start history, base *Chain) ([]history, error) {
	start.position = position{chain: base}
	todo, done := []history{start}, []history(nil)
	for len(todo) > 0 {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if h.chain == nil {
			done = append(done, h)
			continue
		}
		if h.next == len(h.chain.Rules) {
			todo = append(todo, h.back(base)) // the end of a chain is a return
			continue
		}
		rule := h.chain.Rules[h.next]
		branches, err := rule.Try(h.packet, w.node)
		if err != nil {
			return nil, fmt.Errorf("%s %s rule %d (%s): %w", h.chain.Table, h.chain.Name, h.next+1, rule, err)
		}
		for _, b := range slices.Backward(branches) { // the first is to be taken up first
			after, err := w.take(h, b, base)
			if err != nil {
				return nil, err
			}
			todo = append(todo, after)
		}
	}
	return done, nil
}

// take follows one branch of the rule that a history stands at.
func (w *walker) take(h history, b Branch, base *Chain) (history, error) {
	h.trail = h.trail.add(Step{
		Hook: h.hook, Chain: h.chain, Number: h.next + 1, Rule: h.chain.Rules[h.next],
		Packet: h.packet, Failed: b.Failed, node: w.node,
	})
	if b.Share != Whole {
		h.chance = new(big.Rat).Mul(h.chance, big.NewRat(b.Share.Num, b.Share.Den))
	}
	if b.After != nil {
		h.packet = b.After
	}
	h.next++
	switch b.Do {
	case Jump, Goto:
		return h.call(w.rules.Chain(h.chain.Table, b.Chain), b)
	case Return:
		return h.back(base), nil
	case Accept:
		h.position = position{}
	case Drop:
		h.position, h.fate = position{}, Dropped
	case Reject:
		h.position, h.fate = position{}, Rejected
	case Resend:
		h.position, h.resent = position{}, true
	}
	return h, nil
}

// call enters a chain. A goto leaves no note of where it came from.
func (h history) call(chain *Chain, b Branch) (history, error) {
	switch {
	case chain == nil:
		return h, fmt.Errorf("%s %s rule %d: there is no chain %s", h.chain.Table, h.chain.Name, h.next, b.Chain)
	case h.depth == maxDepth:
		return h, fmt.Errorf("%s %s rule %d: chains call each other more than %d deep", h.chain.Table, h.chain.Name, h.next, maxDepth)
	}
	caller := h.caller
	if b.Do == Jump {
		here := h.position
		caller = &here
	}
	h.position = position{chain: chain, depth: h.depth + 1, caller: caller}
	return h, nil
}

// back returns to the caller, or out of the base chain by its policy.
func (h history) back(base *Chain) history {
	if h.caller != nil {
		h.position = *h.caller
		return h
	}
	h.position = position{}
	if base.Drop {
		h.fate = Dropped
		h.note("the policy of " + base.Table + " " + base.Name + " is DROP")
	}
	return h
}

// note records what the kernel does without a rule.
func (h *history) note(text string) {
	h.trail = h.trail.add(Step{Hook: h.hook, Packet: h.packet, Failed: Met, Note: text})
}
