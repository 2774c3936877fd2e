package packet

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"orrery.example.org/proxy/plan"
)

// Result is all that may become of a packet.
type Result struct {
	Packet   Packet
	Outcomes []Outcome // their probabilities add up to one
}

// Outcome is one thing that may become of a packet.
type Outcome struct {
	Fate        Fate
	Probability *big.Rat
	Endpoint    netip.AddrPort // where DNAT sent it; invalid if its destination was left alone
	Masqueraded bool           // its source is rewritten; Packet.Causes says why
	Packet      Packet         // as it is in the end; the next packet's Affinity is here
	trail       *trail
}

// Fate is how a packet ends.
type Fate uint8

// The fates.
const (
	Forwarded Fate = iota + 1 // it leaves the node
	Delivered                 // a process of the node gets it, if one listens
	Rejected                  // the sender is told that nobody listens
	Dropped                   // silence
)

// String is the fate in a word.
func (f Fate) String() string {
	return [...]string{"undecided", "forwarded", "delivered", "rejected", "dropped"}[f]
}

// Service is the port of the Service whose rules decided, zero if none did: the one that
// the last matching rule of any Service was made for.
func (o *Outcome) Service() plan.PortName {
	for t := o.trail; t != nil; t = t.before {
		if t.Rule != nil && t.Failed == Met && t.Rule.Service(t.Packet).Name.Name != "" {
			return t.Rule.Service(t.Packet)
		}
	}
	return plan.PortName{}
}

// Steps are all rules that the packet was held against, and what the kernel did besides,
// from first to last.
func (o *Outcome) Steps() []Step {
	var steps []Step
	for t := o.trail; t != nil; t = t.before {
		steps = append(steps, t.Step)
	}
	slices.Reverse(steps)
	return steps
}

// Step is one moment of a packet's way.
type Step struct {
	Hook   Hook
	Chain  *Chain // nil for what the kernel does by itself
	Number int    // of the rule in its chain, from 1
	Rule   Rule
	Packet *Packet // as the rule saw it
	Failed int     // the condition that did not hold, or Met
	Note   string  // what the kernel does by itself
	node   *Node
}

// Matched tells whether the step changed the packet's way: a rule that matched, or
// something that the kernel does.
func (s *Step) Matched() bool { return s.Failed == Met }

// Why says why the rule matched or not.
func (s *Step) Why() string {
	if s.Rule == nil {
		return s.Note
	}
	return s.Rule.Why(s.Packet, s.node, s.Failed)
}

// trail is a list of steps from the last to the first. Histories that chance parted
// share the steps that they have in common.
type trail struct {
	Step
	before *trail
}

func (t *trail) add(s Step) *trail { return &trail{Step: s, before: t} }

// Causes are reasons to masquerade, as bits.
type Causes uint8

// The reasons.
const (
	Hairpin       Causes = 1 << iota // the endpoint is the client itself
	FromOutside                      // it came to an address for outside, under the policy Cluster
	FromNode                         // the node itself sends it to such an address
	OffCluster                       // to a ClusterIP, from a source that is not known to be a Pod
	MasqueradeAll                    // the proxy is told to masquerade all that goes to a ClusterIP
	MarkedBefore                     // it carried the mark when it came
)

var causeTexts = [...]string{
	"the client would be its own server (hairpin)",
	"traffic to an address for outside may leave for another node, and the answer must come back here",
	"the node's own address may not be one that the endpoint can answer",
	"the client is not known to be a Pod, and the answer must come back here",
	"masquerade-all is set",
	"it carried the mark already",
}

// String names the reasons in words.
func (c Causes) String() string {
	var texts []string
	for i, text := range causeTexts {
		if c&(1<<i) != 0 {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "; ")
}

// String is the outcome in a line.
func (o *Outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", o.Probability.RatString(), o.Fate)
	switch {
	case o.Endpoint.IsValid():
		fmt.Fprintf(&b, " to the endpoint %s", o.Endpoint)
	case o.Fate == Forwarded || o.Fate == Delivered:
		fmt.Fprintf(&b, " to %s, untouched", o.Packet.Destination)
	}
	if name := o.Service(); name.Name.Name != "" {
		fmt.Fprintf(&b, " (%s)", name)
	}
	if o.Masqueraded {
		fmt.Fprintf(&b, ", masqueraded: %s", o.Packet.Causes)
	}
	return b.String()
}
