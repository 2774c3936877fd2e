// Package packet walks one packet through the rules of a Service data plane the way
// the kernel would, without a kernel and without privileges: which rules it meets, why
// each of them matches or does not, and what may become of it with what probability.
//
// What flows in: a Packet, the Node it arrives at (or starts from), and Rules, a
// backend's own model of what it programs, not the plan that the model was made from.
// A walk therefore shows what the rules do, including what nobody meant them to do.
// What flows out: a Result.
//
// How a packet crosses netfilter, in the order of the files:
//
//	walk.go   from hook to hook:
//	              arrives ─ PREROUTING ─ routing ┬ INPUT ─ a process of the node
//	                                             └ FORWARD ─ POSTROUTING ─ leaves
//	              a process sends ─ OUTPUT ─ routing ─ POSTROUTING ─ leaves
//	                                                 └ to the node itself: by lo, PREROUTING, INPUT
//	chain.go  through one base chain: jump, goto, return, accept, drop
//	rules.go  what a backend provides: chains, and rules that judge a packet
//
// iptables.go lays out the model of proxy/iptables as chains, condition.go and
// action.go give its rules their meaning; nftables.go, statement.go and expression.go do
// so for the text and the elements of proxy/nftables.
//
// Upstream counterparts: the packet tracers in the unit tests of pkg/proxy/iptables
// and pkg/proxy/nftables.
//
// Kubernetes: upstream's tracers follow regular expressions over the text of the rules,
// visit all filter chains whatever the packet's way, and tell endpoints without their
// probabilities. Left out here: rules that others have put beside the data plane's,
// fragments, packets of more than one protocol (an ICMP error belongs to its flow), and
// the address that MASQUERADE chooses, which depends on the routes.
package packet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Packet is a packet at one moment of its way. Rules never change one, they make new ones.
type Packet struct {
	Source      netip.Addr
	Protocol    string         // tcp, udp, sctp, icmp, as rules spell it
	Destination netip.AddrPort // with port 0 where the protocol has none
	In          string         // the interface it arrived by; "" if a process of the node sends it
	Mark        uint32
	Flow        Flow
	Affinity    []Memory // the clients that rules remember, see Outcome.Affinity
	Causes      Causes   // which rules asked for its masquerading
}

// Flow is what conntrack knows of the flow that the packet belongs to. A new one has
// only a state; rules and walk fill in the rest.
type Flow struct {
	State       State
	Asked       netip.AddrPort // where the client sent it, if DNAT sends it elsewhere
	Endpoint    netip.AddrPort // where DNAT sends the flow; invalid if nowhere else
	IPVS        bool           // not DNAT but IPVS does
	Masqueraded bool           // its source is rewritten where it leaves
}

// State is a conntrack state.
type State uint8

// The states. Only the first packet of a flow, New or Related, meets the nat table.
const (
	New State = iota
	Established
	Related
	Invalid
	Untracked
)

var stateNames = [...]string{"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"}

// String is the state as rules spell it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

func (s State) first() bool { return s == New || s == Related }

// Memory is a client that a rule put into a list, for session affinity. Where the list
// says so, it is remembered for a while, and with its endpoint.
type Memory struct {
	List     string
	Source   netip.Addr
	Age      time.Duration
	Timeout  time.Duration
	Endpoint netip.AddrPort
}

// check refuses what can be no packet.
func (p *Packet) check() error {
	switch {
	case !p.Source.IsValid() || !p.Destination.IsValid():
		return fmt.Errorf("packet from %v to %v: an address is missing", p.Source, p.Destination)
	case p.Source.Is4() != p.Destination.Addr().Is4():
		return fmt.Errorf("packet from %v to %v: the addresses are of two families", p.Source, p.Destination)
	case int(p.Flow.State) >= len(stateNames):
		return fmt.Errorf("packet of a flow in the unknown %v", p.Flow.State)
	case p.Flow.State.first() && (p.Flow.Endpoint.IsValid() || p.Flow.Masqueraded):
		return fmt.Errorf("packet of a flow that is %v but has been translated already", p.Flow.State)
	}
	return nil
}

// to is the packet with another destination, as DNAT makes it.
func (p *Packet) to(endpoint netip.AddrPort) *Packet {
	q := *p
	q.Flow.Asked, q.Destination, q.Flow.Endpoint = p.asked(), endpoint, endpoint
	return &q
}

// asked is the destination that the client gave the flow.
func (p *Packet) asked() netip.AddrPort {
	if p.Flow.Asked.IsValid() {
		return p.Flow.Asked
	}
	return p.Destination
}

func (p *Packet) marked(mark uint32) *Packet {
	q := *p
	q.Mark = mark
	return &q
}

func (p *Packet) because(c Causes) *Packet {
	q := *p
	q.Causes |= c
	return &q
}

func (p *Packet) masqueraded() *Packet {
	q := *p
	q.Flow.Masqueraded = true
	return &q
}

// recall finds the packet's source in a list.
func (p *Packet) recall(list string) (m Memory, ok bool) {
	i := slices.IndexFunc(p.Affinity, func(m Memory) bool { return m.List == list && m.Source == p.Source })
	if i < 0 {
		return Memory{}, false
	}
	return p.Affinity[i], true
}

// remember puts a client into a list, in place of what the list has of it.
func (p *Packet) remember(client Memory) *Packet {
	q := *p
	q.Affinity = slices.DeleteFunc(slices.Clone(p.Affinity), func(m Memory) bool {
		return m.List == client.List && m.Source == client.Source
	})
	q.Affinity = append(q.Affinity, client)
	return &q
}
