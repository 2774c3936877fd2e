package packet

import (
	"net/netip"

	"orrery.example.org/proxy/plan"
)

// Hook is one of the five places where the kernel asks rules about a packet.
type Hook uint8

// The hooks.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
)

// String is the hook as iptables spells it.
func (h Hook) String() string {
	return [...]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}[h]
}

// Rules is what a data plane has in the kernel.
type Rules interface {
	// Base are the base chains at a hook, in the order of their priorities.
	Base(Hook) []*Chain
	// Chain is a chain by its table and name, nil if there is none.
	Chain(table, name string) *Chain
}

// Chain is a list of rules.
type Chain struct {
	Table, Name string
	// NAT is set for base chains that only the first packet of a flow meets, and of
	// which only the first one to translate counts.
	NAT bool
	// Drop is the policy of a base chain: what no rule decides about is dropped.
	Drop  bool
	Rules []Rule
}

// Rule is one rule of a backend's model.
type Rule interface {
	// Try judges a packet: one Branch, or several where chance decides, whose shares
	// add up to one. An error is a rule that the kernel would not have taken.
	Try(*Packet, *Node) ([]Branch, error)
	// Why says in words which conditions held (Met), or which did not.
	Why(p *Packet, node *Node, failed int) string
	// Meaning is what the rule is for, in the words of Kubernetes: in general, if the
	// packet is nil.
	Meaning(*Packet) string
	// Service is the port of the Service that the rule, or what it looks up for the
	// packet, was made for, if any.
	Service(*Packet) plan.PortName
	// String is the rule as its backend writes it.
	String() string
}

// Met is the value of Branch.Failed where all conditions held.
const Met = -1

// Branch is one thing that may happen at a rule.
type Branch struct {
	Share  Share   // of the packets that come by
	Failed int     // the number of the condition that did not hold, or Met
	After  *Packet // the packet afterwards; nil if it is as before
	Do     Action
	Chain  string // for Jump and Goto
}

// Action is where a packet goes after a rule.
type Action uint8

// The actions.
const (
	Continue Action = iota // to the next rule
	Jump                   // into a chain, and back here at its end
	Goto                   // into a chain, and at its end back to where this one returns to
	Return                 // back to the caller
	Accept                 // past the rest of this base chain; other base chains still come
	Drop                   // nowhere, in silence
	Reject                 // nowhere, and the sender is told
	Resend                 // out of the node from OUTPUT on, as if the node itself had sent it
)

// Share is a fraction.
type Share struct{ Num, Den int64 }

// Whole is what happens always.
var Whole = Share{1, 1}

// Times is the product of two shares.
func (s Share) Times(num, den int64) Share { return Share{s.Num * num, s.Den * den} }

// Node is what a walk needs to know of the node.
type Node struct {
	Addrs []netip.Addr // its own; the loopback addresses need no mention
	// RouteLocalnet is the sysctl that lets packets for 127.0.0.0/8 cross interfaces.
	RouteLocalnet bool
	// Bridges are those of its interfaces that are bridges, whose packets br_netfilter
	// shows to iptables as coming from a port.
	Bridges []string
}

// Local tells whether an address is one of the node's own (addrtype LOCAL).
func (n *Node) Local(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	for _, own := range n.Addrs {
		if own == addr {
			return true
		}
	}
	return false
}
