package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// statement is one statement of an nftables rule.
type statement struct {
	// run says what may become of a packet: nothing, if the statement breaks and the rule
	// with it, or one or several ways on.
	run func(*Packet, *Node) []Branch
	// tell says in words what it found: why it broke, or what it knows (perhaps nothing).
	tell func(p *Packet, node *Node, held bool) string
	// key is the element of a Service that it looks up, nil if it looks up none.
	key func(*Packet) string
}

// broke marks a way that leaves the rule.
const broke = -2

// The chain that marks what is to be masqueraded, the map of clients, and the set of
// endpoints that would talk to themselves.
const (
	chainMark   = "mark-for-masquerade"
	setAffinity = "affinity"
	setHairpin  = "hairpin-connections"
)

var on = []Branch{{Share: Whole}}

// verdict ends the rule.
func verdict(do Action, chain string) *statement {
	return &statement{
		run:  func(*Packet, *Node) []Branch { return []Branch{{Share: Whole, Do: do, Chain: chain}} },
		tell: func(*Packet, *Node, bool) string { return "" },
	}
}

// condition goes on or breaks.
func condition(want string, have func(*Packet) string, met func(*Packet, *Node) bool) *statement {
	return &statement{
		run: func(p *Packet, node *Node) []Branch {
			if met(p, node) {
				return on
			}
			return nil
		},
		tell: func(p *Packet, _ *Node, held bool) string {
			if held {
				return "it is " + want
			}
			return fmt.Sprintf("it is %s; the rule wants packets %s", have(p), want)
		},
	}
}

// parser reads the statements of a rule.
type parser struct {
	rules *NFTables
	words []string
	cause Causes // of the masquerading that follows
}

// next takes the words if they are what comes next.
func (p *parser) next(words ...string) bool {
	if len(p.words) < len(words) {
		return false
	}
	for i, w := range words {
		if p.words[i] != w {
			return false
		}
	}
	p.words = p.words[len(words):]
	return true
}

// word takes one word, "" at the end.
func (p *parser) word() string {
	if len(p.words) == 0 {
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

// statement reads one statement; nil for a comment.
func (p *parser) statement() (*statement, error) {
	switch {
	case p.next("comment"):
		p.word()
		return nil, nil
	case p.next("jump"):
		return verdict(Jump, p.word()), nil
	case p.next("goto"):
		return verdict(Goto, p.word()), nil
	case p.next("return"):
		return verdict(Return, ""), nil
	case p.next("drop"):
		return verdict(Drop, ""), nil
	case p.next("reject"):
		return verdict(Reject, ""), nil
	case p.next("masquerade", "fully-random"):
		return masquerade(p.cause), nil
	case p.next("ct", "state", "new"):
		return condition("of a flow that is NEW", flowState, func(p *Packet, _ *Node) bool { return p.Flow.State == New }), nil
	case p.next("ct", "status", "dnat"):
		return condition("of a flow that DNAT has sent elsewhere", func(*Packet) string { return "of a flow that goes where it was sent to" },
			func(p *Packet, _ *Node) bool { return p.Flow.Endpoint.IsValid() }), nil
	case p.next("fib", "saddr", "type", "local"):
		return condition("from this node", func(p *Packet) string { return "from " + p.Source.String() },
			func(p *Packet, node *Node) bool { return node.Local(p.Source) }), nil
	case p.next("iifname"):
		return p.interfaceName(), nil
	case p.next("meta", "mark"):
		return p.mark()
	case p.next("dnat", "ip", "to"), p.next("dnat", "ip6", "to"):
		return p.dnat()
	case p.next("update", "@"+setAffinity, "{"):
		return p.update()
	}
	return p.match()
}

func flowState(p *Packet) string { return "of a flow that is " + p.Flow.State.String() }

// masquerade accepts, for a reason of its own or for that of the mark.
func masquerade(cause Causes) *statement {
	return &statement{
		run: func(p *Packet, _ *Node) []Branch {
			q := p.masqueraded().because(cause)
			if q.Causes == 0 {
				q = q.because(MarkedBefore)
			}
			return []Branch{{Share: Whole, Do: Accept, After: q}}
		},
		tell: func(*Packet, *Node, bool) string { return "" },
	}
}

// interfaceName reads what follows iifname.
func (p *parser) interfaceName() *statement {
	not := p.next("!=")
	name := p.word()
	want := "by " + name
	if not {
		want = "not " + want
	}
	have := func(p *Packet) string {
		if p.In == "" {
			return "sent by the node itself"
		}
		return "by " + p.In
	}
	return condition(want, have, func(p *Packet, _ *Node) bool {
		met := p.In == name
		if prefix, wild := strings.CutSuffix(name, "*"); wild {
			met = strings.HasPrefix(p.In, prefix)
		}
		return met != not
	})
}

// mark reads what follows meta mark: "set meta mark or 0x1", or "and 0x1 == 0".
func (p *parser) mark() (*statement, error) {
	if p.next("set", "meta", "mark") {
		operation := p.word()
		bits, err := strconv.ParseUint(p.word(), 0, 32)
		if err != nil || operation != "or" && operation != "xor" {
			return nil, fmt.Errorf("mark: %s: %w", operation, err)
		}
		return &statement{
			run: func(p *Packet, _ *Node) []Branch {
				if operation == "or" {
					return []Branch{{Share: Whole, After: p.marked(p.Mark | uint32(bits))}}
				}
				return []Branch{{Share: Whole, After: p.marked(p.Mark ^ uint32(bits))}}
			},
			tell: func(*Packet, *Node, bool) string { return "" },
		}, nil
	}
	if !p.next("and") {
		return nil, fmt.Errorf("meta mark %v is not known", p.words)
	}
	bits, err := strconv.ParseUint(p.word(), 0, 32)
	if err != nil || !p.next("==", "0") {
		return nil, fmt.Errorf("meta mark and %v: %w", p.words, err)
	}
	return condition(fmt.Sprintf("not marked %#x", bits), func(p *Packet) string { return fmt.Sprintf("marked %#x", p.Mark) },
		func(p *Packet, _ *Node) bool { return p.Mark&uint32(bits) == 0 }), nil
}

// match reads an expression and what it is held against: a prefix, a protocol, a set, or
// a map of verdicts.
func (p *parser) match() (*statement, error) {
	e, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.next("vmap") {
		return p.rules.verdicts(e, strings.TrimPrefix(p.word(), "@")), nil
	}
	not := p.next("!=")
	value := p.word()
	if set, ok := strings.CutPrefix(value, "@"); ok {
		if set == setHairpin {
			p.cause = Hairpin
		}
		return p.rules.member(e, set), nil
	}
	if len(e) != 1 {
		return nil, fmt.Errorf("%s %s is not known", e, value)
	}
	if prefix, err := netip.ParsePrefix(value); err == nil {
		want := e[0].name + " " + value
		if not {
			want = "with " + e[0].name + " outside " + value
		} else {
			want = "with " + want
		}
		return condition(want, func(p *Packet) string { return "with " + e[0].name + " " + e[0].text(p) }, func(p *Packet, _ *Node) bool {
			addr, _ := netip.AddrFromSlice([]byte(e[0].value(p)))
			return prefix.Contains(addr) != not
		}), nil
	}
	if protocolNumbers[value] == 0 || not {
		return nil, fmt.Errorf("%s %s is not known", e, value)
	}
	return condition(value, func(p *Packet) string { return p.Protocol }, func(p *Packet, _ *Node) bool { return p.Protocol == value }), nil
}

// verdicts looks a packet up in a map whose values end the rule.
func (t *NFTables) verdicts(e expression, set string) *statement {
	return &statement{
		run: func(p *Packet, _ *Node) []Branch {
			value, ok := t.lookUp(set, e.value(p))
			if !ok {
				return nil
			}
			if chain, ok := strings.CutPrefix(value, "goto "); ok {
				return []Branch{{Share: Whole, Do: Goto, Chain: chain}}
			}
			return []Branch{{Share: Whole, Do: Drop}}
		},
		tell: func(p *Packet, _ *Node, held bool) string {
			value, ok := t.lookUp(set, e.value(p))
			if !ok {
				return fmt.Sprintf("%s has nothing for %s", set, e.text(p))
			}
			return fmt.Sprintf("%s has %s for %s", set, value, e.text(p))
		},
		key: e.value,
	}
}

// member asks whether a set holds the packet.
func (t *NFTables) member(e expression, set string) *statement {
	return &statement{
		run: func(p *Packet, _ *Node) []Branch {
			if _, ok := t.lookUp(set, e.value(p)); !ok {
				return nil
			}
			return on
		},
		tell: func(p *Packet, _ *Node, held bool) string {
			if !held {
				return fmt.Sprintf("%s does not hold %s", set, e.text(p))
			}
			return fmt.Sprintf("%s holds %s", set, e.text(p))
		},
	}
}

// dnat reads what follows "dnat ip to": an expression and the map that has the endpoint.
func (p *parser) dnat() (*statement, error) {
	e, err := p.expression()
	if err != nil {
		return nil, err
	}
	if !p.next("map") {
		return nil, fmt.Errorf("dnat to %v is not known", p.words)
	}
	t, set := p.rules, strings.TrimPrefix(p.word(), "@")
	if set == setAffinity {
		return remembered(e), nil
	}
	last := e[len(e)-1]
	if last.choices == 0 {
		return nil, fmt.Errorf("dnat to %s is not known", e)
	}
	return &statement{
		run: func(p *Packet, _ *Node) []Branch {
			var ways []Branch
			for i := range last.choices {
				b := Branch{Share: Share{1, int64(last.choices)}, Failed: broke}
				index := binary.NativeEndian.AppendUint32([]byte(e.value(p)), uint32(i))
				if value, ok := t.lookUp(set, string(index)); ok {
					if endpoint, ok := addressPort(value); ok {
						b = Branch{Share: b.Share, Do: Accept, After: p.to(endpoint)}
					}
				}
				ways = append(ways, b)
			}
			return ways
		},
		tell: func(p *Packet, _ *Node, held bool) string {
			if !held {
				return fmt.Sprintf("%s lacks the number for %s", set, e.text(p))
			}
			return fmt.Sprintf("chance chose one of the %d that %s has for %s", last.choices, set, e.text(p))
		},
		key: e.value,
	}, nil
}

// remembered sends a client back to the endpoint that it had.
func remembered(e expression) *statement {
	find := func(p *Packet) (Memory, bool) {
		m, ok := p.recall(e[1:].text(p)) // the list is all but the client
		return m, ok && m.Age <= m.Timeout
	}
	return &statement{
		run: func(p *Packet, _ *Node) []Branch {
			m, ok := find(p)
			if !ok {
				return nil
			}
			return []Branch{{Share: Whole, Do: Accept, After: p.to(m.Endpoint)}}
		},
		tell: func(p *Packet, _ *Node, held bool) string {
			if m, ok := find(p); ok {
				return fmt.Sprintf("%s has %s for %s", setAffinity, m.Endpoint, e.text(p))
			}
			return fmt.Sprintf("%s has nothing for %s", setAffinity, e.text(p))
		},
	}
}

// update reads "{ client . destination timeout 600s : endpoint }".
func (p *parser) update() (*statement, error) {
	e, err := p.expression()
	if err != nil {
		return nil, err
	}
	if !p.next("timeout") {
		return nil, fmt.Errorf("update without a timeout")
	}
	timeout, err := time.ParseDuration(p.word())
	if err != nil || !p.next(":") {
		return nil, fmt.Errorf("update: %w", err)
	}
	if _, err = p.expression(); err != nil || !p.next("}") {
		return nil, fmt.Errorf("update: the endpoint: %w", err)
	}
	return &statement{
		run: func(p *Packet, _ *Node) []Branch {
			m := Memory{List: e[1:].text(p), Source: p.Source, Endpoint: p.Destination, Timeout: timeout}
			return []Branch{{Share: Whole, After: p.remember(m)}}
		},
		tell: func(*Packet, *Node, bool) string { return "" },
	}, nil
}

// protocolNumbers are the protocols that rules name.
var protocolNumbers = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "icmp": unix.IPPROTO_ICMP}
