package packet

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
)

// Walk takes a packet through the rules of a node, to every end that it may meet.
func Walk(rules Rules, node Node, p Packet) (Result, error) {
	if err := p.check(); err != nil {
		return Result{}, err
	}
	if more, ok := rules.(interface{ Own() []netip.Addr }); ok {
		node.Addrs = slices.Concat(node.Addrs, more.Own())
	}
	w := &walker{rules: rules, node: &node}
	hook := Prerouting
	if p.In == "" {
		hook = Output
	}
	err := w.enter(history{packet: &p, chance: big.NewRat(1, 1)}, hook)
	return Result{Packet: p, Outcomes: w.outcomes}, err
}

type walker struct {
	rules    Rules
	node     *Node
	outcomes []Outcome
}

// enter takes a history through all base chains of a hook, and on from there.
func (w *walker) enter(h history, hook Hook) error {
	h.hook = hook
	open := []history{h}
	for _, base := range w.rules.Base(hook) {
		var after []history
		for _, h := range open {
			some, err := w.base(h, base)
			if err != nil {
				return err
			}
			for _, s := range some {
				if s.resent && !h.resent {
					s.note("IPVS sends it from OUTPUT on, as if it were the node's own")
					if err := w.enter(s, Output); err != nil {
						return err
					}
					continue
				}
				after = append(after, s)
			}
		}
		open = after
	}
	for _, h := range open {
		if err := w.leave(h); err != nil {
			return err
		}
	}
	return nil
}

// base takes a history through one base chain, if it has to go there.
func (w *walker) base(h history, base *Chain) ([]history, error) {
	if h.fate != 0 || h.resent && base.Table == tableIPVS {
		return []history{h}, nil
	}
	if base.NAT {
		if !h.packet.Flow.State.first() {
			h.translate()
			return []history{h}, nil
		}
		if h.decided() {
			return []history{h}, nil
		}
	}
	return w.cross(h, base)
}

// The two sides of a flow that nat translates, each at most once.
const (
	destination = iota
	source
)

// side is what nat at a hook translates.
func side(hook Hook) int {
	if hook == Prerouting || hook == Output {
		return destination
	}
	return source
}

// decided tells whether conntrack knows already what this hook's nat chains would be
// asked for. So they end with the first translation, and a packet that comes back to
// the node by lo does not meet them again.
func (h *history) decided() bool {
	flow := h.packet.Flow
	if side(h.hook) == destination {
		return h.settled[destination] || flow.Endpoint.IsValid()
	}
	return h.settled[source] || flow.Masqueraded
}

// translate does to a later packet of a flow what the rules did to the first one.
func (h *history) translate() {
	flow := h.packet.Flow
	switch {
	case flow.State != Established:
		return // conntrack knows no flow that it belongs to
	case side(h.hook) == destination && flow.Endpoint.IsValid() && !flow.IPVS && h.packet.Destination != flow.Endpoint:
		h.note(fmt.Sprintf("conntrack sends the packet to %s, as the first of its flow", flow.Endpoint))
		h.packet = h.packet.to(flow.Endpoint)
	case h.hook == Postrouting && flow.Masqueraded:
		h.note("conntrack rewrites the source, as the first packet's of the flow")
	}
}

// leave decides where a packet goes that all base chains of a hook let pass.
func (w *walker) leave(h history) error {
	if h.hook != Forward {
		h.settled[side(h.hook)] = true // also that it stays as it is
	}
	dst := h.packet.Destination.Addr()
	switch {
	case h.fate != 0:
		w.end(h, h.fate)
	case (h.hook == Prerouting || h.hook == Output) && w.martian(&h):
		h.note("routing drops it: a loopback address must not cross interfaces (route_localnet is 0)")
		w.end(h, Dropped)
	case h.hook == Prerouting && w.node.Local(dst):
		h.note(fmt.Sprintf("routing: %s is this node's own address", dst))
		return w.enter(h, Input)
	case h.hook == Prerouting:
		h.note(fmt.Sprintf("routing: %s is elsewhere, forward", dst))
		return w.enter(h, Forward)
	case h.hook == Input:
		w.end(h, Delivered)
	case h.hook == Forward, h.hook == Output:
		return w.enter(h, Postrouting)
	case w.node.Local(dst): // from a process of the node to the node itself
		h.note("it comes back by lo")
		q := *h.packet
		q.In, h.packet = "lo", &q
		return w.enter(h, Prerouting)
	default:
		w.end(h, Forwarded)
	}
	return nil
}

// martian tells whether a packet has a loopback address where routing does not allow one.
func (w *walker) martian(h *history) bool {
	p := h.packet
	if w.node.RouteLocalnet && p.Source.Is4() {
		return false
	}
	if h.hook == Output {
		return p.Source.IsLoopback() && !w.node.Local(p.Destination.Addr())
	}
	return p.In != "lo" && (p.Source.IsLoopback() || p.Destination.Addr().IsLoopback())
}

// end closes a history.
func (w *walker) end(h history, fate Fate) {
	w.outcomes = append(w.outcomes, Outcome{
		Fate: fate, Probability: h.chance, Packet: *h.packet,
		Endpoint: h.packet.Flow.Endpoint, Masqueraded: h.packet.Flow.Masqueraded, trail: h.trail,
	})
}
