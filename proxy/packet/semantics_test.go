package packet

import (
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"orrery.example.org/proxy/plan"
)

// words is a rule for tests of the walk itself: a verdict in one word or two.
//
//	"next", "return", "accept", "drop", "reject", "jump X", "goto X", "dnat", "masq", "half accept"
type words string

func (r words) Try(p *Packet, _ *Node) ([]Branch, error) {
	b := Branch{Share: Whole, Failed: Met}
	verb, arg, _ := strings.Cut(string(r), " ")
	switch verb {
	case "return":
		b.Do = Return
	case "accept":
		b.Do = Accept
	case "drop":
		b.Do = Drop
	case "reject":
		b.Do = Reject
	case "jump":
		b.Do, b.Chain = Jump, arg
	case "goto":
		b.Do, b.Chain = Goto, arg
	case "dnat":
		b.Do, b.After = Accept, p.to(netip.MustParseAddrPort(arg))
	case "masq":
		b.Do, b.After = Accept, p.masqueraded()
	case "half":
		b.Share, b.Do = Share{1, 2}, Accept
		return []Branch{b, {Share: Share{1, 2}, Failed: 0}}, nil
	}
	return []Branch{b}, nil
}

func (words) Why(*Packet, *Node, int) string { return "" }
func (words) Meaning(*Packet) string         { return "" }
func (words) Service(*Packet) plan.PortName  { return plan.PortName{} }
func (r words) String() string               { return string(r) }

// book is a set of chains with rules in words. Base chains are named after their hooks;
// those whose names begin with nat: are nat chains, and a hook may have a 2nd of both.
type book map[string][]words

func (b book) Base(hook Hook) []*Chain {
	var all []*Chain
	for _, name := range []string{"", "nat:", "2nd:", "nat:2nd:"} {
		if c := b.Chain("", name+hook.String()); c != nil {
			c.NAT = strings.HasPrefix(name, "nat:")
			all = append(all, c)
		}
	}
	return all
}

func (b book) Chain(_, name string) *Chain {
	rules, ok := b[name]
	if !ok {
		return nil
	}
	c := &Chain{Name: name}
	for _, r := range rules {
		if r == "policy drop" {
			c.Drop = true
			continue
		}
		c.Rules = append(c.Rules, r)
	}
	return c
}

// way is the way of a packet in short: the hooks where something happens, the rules, and
// the fate.
func way(o Outcome) string {
	var texts []string
	hook := Hook(255)
	for _, s := range o.Steps() {
		if s.Hook != hook {
			hook = s.Hook
			texts = append(texts, hook.String())
		}
		if s.Rule != nil {
			texts = append(texts, s.Rule.String())
		}
	}
	return strings.Join(append(texts, o.Fate.String()), ", ")
}

func remote(in string) Packet {
	return Packet{Protocol: "tcp", Source: netip.MustParseAddr("172.30.0.50"), Destination: netip.MustParseAddrPort("10.96.0.1:80"), In: in}
}

func toNode(p Packet) Packet {
	p.Destination = netip.MustParseAddrPort("172.30.0.11:80")
	return p
}

func state(p Packet, s State) Packet {
	p.Flow.State = s
	return p
}

// What netfilter does, whoever wrote the rules.
func TestNetfilter(t *testing.T) {
	const pod, here = "10.244.2.2:8080", "172.30.0.11:8080"
	translated := state(remote("eth0"), Established)
	translated.Flow.Endpoint, translated.Flow.Masqueraded = netip.MustParseAddrPort(pod), true
	for _, row := range []struct {
		name   string
		rules  book
		packet Packet
		want   string
	}{
		{"forwarded", book{"PREROUTING": {"next"}, "FORWARD": {"next"}, "POSTROUTING": {"next"}, "INPUT": {"drop"}, "OUTPUT": {"drop"}}, remote("eth0"),
			"PREROUTING, next, FORWARD, next, POSTROUTING, next, forwarded"},
		{"delivered", book{"INPUT": {"next"}, "FORWARD": {"drop"}, "POSTROUTING": {"drop"}}, toNode(remote("eth0")),
			"PREROUTING, INPUT, next, delivered"},
		{"sent", book{"OUTPUT": {"next"}, "POSTROUTING": {"next"}, "PREROUTING": {"drop"}, "FORWARD": {"drop"}}, remote(""),
			"OUTPUT, next, POSTROUTING, next, forwarded"},
		{"from the node to itself", book{"OUTPUT": {"next"}, "POSTROUTING": {"next"}, "PREROUTING": {"next"}, "INPUT": {"reject"}}, toNode(remote("")),
			"OUTPUT, next, POSTROUTING, next, PREROUTING, next, INPUT, reject, rejected"},
		{"jump comes back", book{"PREROUTING": {"jump x", "drop"}, "x": {"next"}}, remote("eth0"), "PREROUTING, jump x, next, drop, dropped"},
		{"return comes back at once", book{"PREROUTING": {"jump x", "reject"}, "x": {"return", "drop"}}, remote("eth0"),
			"PREROUTING, jump x, return, reject, rejected"},
		{"goto comes back to the caller's caller", book{"PREROUTING": {"jump x", "reject"}, "x": {"goto y", "drop"}, "y": {"next"}}, remote("eth0"),
			"PREROUTING, jump x, goto y, next, reject, rejected"},
		{"goto from a base chain ends in its policy", book{"PREROUTING": {"goto y", "accept", "policy drop"}, "y": {"return"}}, remote("eth0"),
			"PREROUTING, goto y, return, dropped"},
		{"return from a base chain ends in its policy", book{"PREROUTING": {"return", "accept", "policy drop"}}, remote("eth0"), "PREROUTING, return, dropped"},
		{"accept from below passes the policy", book{"PREROUTING": {"jump x", "drop", "policy drop"}, "x": {"accept"}, "FORWARD": {"drop"}}, remote("eth0"),
			"PREROUTING, jump x, accept, FORWARD, drop, dropped"},
		{"accept ends one base chain only", book{"INPUT": {"accept", "drop"}, "2nd:INPUT": {"reject"}}, toNode(remote("eth0")),
			"PREROUTING, INPUT, accept, reject, rejected"},
		{"drop ends all", book{"INPUT": {"drop"}, "2nd:INPUT": {"accept"}}, toNode(remote("eth0")), "PREROUTING, INPUT, drop, dropped"},
		{"DNAT to a Pod", book{"nat:PREROUTING": {"dnat " + pod, "drop"}}, toNode(remote("eth0")), "PREROUTING, dnat " + pod + ", forwarded"},
		{"DNAT to the node", book{"nat:PREROUTING": {"dnat " + here}, "INPUT": {"next"}}, remote("eth0"), "PREROUTING, dnat " + here + ", INPUT, next, delivered"},
		{"DNAT ends nat at its hook", book{"nat:PREROUTING": {"dnat " + pod}, "nat:2nd:PREROUTING": {"dnat " + here}, "2nd:PREROUTING": {"next"}}, remote("eth0"),
			"PREROUTING, dnat " + pod + ", next, forwarded"},
		{"SNAT ends nat at its hook", book{"nat:POSTROUTING": {"masq"}, "nat:2nd:POSTROUTING": {"drop"}}, remote("eth0"),
			"PREROUTING, POSTROUTING, masq, forwarded"},
		{"nat that says nothing leaves it to the next", book{"nat:PREROUTING": {"accept"}, "nat:2nd:PREROUTING": {"dnat " + here}}, remote("eth0"),
			"PREROUTING, accept, dnat " + here + ", delivered"},
		{"each side once", book{"nat:OUTPUT": {"next"}, "nat:PREROUTING": {"drop"}, "nat:POSTROUTING": {"masq"}, "INPUT": {"next"}}, toNode(remote("")),
			"OUTPUT, next, POSTROUTING, masq, PREROUTING, INPUT, next, delivered"},
		{"established flows skip nat", book{"nat:PREROUTING": {"drop"}, "nat:POSTROUTING": {"drop"}, "PREROUTING": {"next"}, "FORWARD": {"next"}}, translated,
			"PREROUTING, next, FORWARD, next, POSTROUTING, forwarded"},
		{"invalid packets are not translated", book{"nat:PREROUTING": {"dnat " + pod}}, toNode(state(remote("eth0"), Invalid)), "PREROUTING, delivered"},
		{"related flows are new to nat", book{"nat:PREROUTING": {"dnat " + pod}}, toNode(state(remote("eth0"), Related)),
			"PREROUTING, dnat " + pod + ", forwarded"},
	} {
		r, err := Walk(row.rules, node1, row.packet)
		if err != nil || len(r.Outcomes) != 1 {
			t.Errorf("%s: %d outcomes, error %v", row.name, len(r.Outcomes), err)
			continue
		}
		if got := way(r.Outcomes[0]); got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, got, row.want)
		}
	}
}

// Established flows go where their first packet went.
func TestEstablishedKeepTheirTranslation(t *testing.T) {
	p := state(remote("eth0"), Established)
	p.Flow.Endpoint, p.Flow.Masqueraded = netip.MustParseAddrPort("10.244.2.2:8080"), true
	r, err := Walk(book{"nat:PREROUTING": {"drop"}, "nat:POSTROUTING": {"drop"}}, node1, p)
	if err != nil {
		t.Fatal(err)
	}
	if o := r.Outcomes[0]; o.Fate != Forwarded || o.Packet.Destination != p.Flow.Endpoint || !o.Masqueraded {
		t.Errorf("%s", &o)
	}
}

// Chance parts histories; each goes on by itself, and shares multiply.
func TestHistoriesPart(t *testing.T) {
	rules := book{"PREROUTING": {"half accept", "half accept", "drop"}, "FORWARD": {"half accept", "reject"}}
	r, err := Walk(rules, node1, remote("eth0"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[Fate]*big.Rat{Forwarded: {}, Rejected: {}, Dropped: {}}
	for _, o := range r.Outcomes {
		got[o.Fate].Add(got[o.Fate], o.Probability)
	}
	for fate, want := range map[Fate]string{Forwarded: "3/8", Rejected: "3/8", Dropped: "1/4"} {
		if p := got[fate].RatString(); p != want {
			t.Errorf("%s with probability %s, want %s", fate, p, want)
		}
	}
}

// What the kernel would not have taken, or what is no packet, is an error.
func TestWalkErrors(t *testing.T) {
	good := remote("eth0")
	mixed := good
	mixed.Source = netip.MustParseAddr("fd00::1")
	early := good
	early.Flow.Masqueraded = true
	for name, row := range map[string]struct {
		rules  book
		packet Packet
		want   string
	}{
		"no chain":      {book{"PREROUTING": {"jump x"}}, good, "there is no chain x"},
		"jump circle":   {book{"PREROUTING": {"jump x"}, "x": {"jump x"}}, good, "call each other"},
		"goto circle":   {book{"PREROUTING": {"goto x"}, "x": {"goto y"}, "y": {"goto x"}}, good, "call each other"},
		"no address":    {book{}, Packet{Protocol: "tcp"}, "an address is missing"},
		"two families":  {book{}, mixed, "two families"},
		"unknown state": {book{}, state(good, 99), "unknown State(99)"},
		"new and old":   {book{}, early, "translated already"},
	} {
		if _, err := Walk(row.rules, node1, row.packet); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, row.want)
		}
	}
}
