package packet

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"orrery.example.org/proxy/iptables"
)

// inKernelOrder are the numbers of a rule's conditions in the order in which the kernel
// tries them: the IP header and the interface first, then the extensions as written.
func inKernelOrder(match []iptables.Match) iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, headers := range []bool{true, false} {
			for i := range match {
				if isHeader(match[i].Kind) == headers && !yield(i) {
					return
				}
			}
		}
	}
}

func isHeader(k iptables.Kind) bool {
	switch k {
	case iptables.Source, iptables.Destination, iptables.InInterface, iptables.Proto:
		return true
	}
	return false
}

// holds tells whether a condition is met that neither chance decides nor changes anything.
func holds(m iptables.Match, p *Packet, node *Node) (bool, error) {
	var met bool
	switch m.Kind {
	case iptables.Comment:
		return true, nil
	case iptables.Proto:
		met = p.Protocol == m.Text
	case iptables.Source:
		met = m.Prefix.Contains(p.Source)
	case iptables.Destination:
		met = m.Prefix.Contains(p.Destination.Addr())
	case iptables.InInterface:
		met = p.In == m.Text
		if prefix, wild := strings.CutSuffix(m.Text, "+"); wild {
			met = strings.HasPrefix(p.In, prefix)
		}
	case iptables.DestPort:
		met = uint32(p.Destination.Port()) == m.Number
	case iptables.SrcType, iptables.DstType:
		if m.Text != "LOCAL" {
			return false, fmt.Errorf("address type %s is not known", m.Text)
		}
		met = node.Local(p.Source)
		if m.Kind == iptables.DstType {
			met = node.Local(p.Destination.Addr())
		}
	case iptables.CtState:
		met = slices.ContainsFunc(strings.Split(m.Text, ","), p.Flow.is)
	case iptables.Mark:
		met = p.Mark&m.Number == m.Number
	case iptables.Recent:
		client, seen := p.recall(m.Text)
		met = seen && client.Age <= time.Duration(m.Number)*time.Second
	case iptables.PhysdevIn:
		met = slices.Contains(node.Bridges, p.In)
	case iptables.VirtualServer:
		met = p.Flow.IPVS && p.asked() == netip.AddrPortFrom(m.Prefix.Addr(), uint16(m.Number)) &&
			m.Text == strconv.Itoa(int(protocolNumbers[p.Protocol]))
	default:
		return false, fmt.Errorf("condition of unknown kind %d", m.Kind)
	}
	return met != m.Not, nil
}

// is tells whether a state that a rule asks for applies. DNAT is not where a flow is in
// its life but what happened to it, and is true beside one of the others.
func (f Flow) is(state string) bool {
	return f.State.String() == state || state == "DNAT" && f.Endpoint.IsValid() && !f.IPVS
}

// wanted says in words what a condition asks for.
func wanted(m iptables.Match) string {
	text := ""
	switch m.Kind {
	case iptables.Proto:
		text = m.Text
	case iptables.Source:
		text = "from " + prefixText(m)
	case iptables.Destination:
		text = "to " + prefixText(m)
	case iptables.InInterface:
		text = "by " + m.Text
	case iptables.DestPort:
		text = fmt.Sprintf("to port %d", m.Number)
	case iptables.SrcType:
		text = "from this node"
	case iptables.DstType:
		text = "to this node"
	case iptables.CtState:
		text = "of a flow that is " + strings.ReplaceAll(m.Text, ",", " or ")
	case iptables.Mark:
		text = fmt.Sprintf("marked %#x", m.Number)
	case iptables.Statistic:
		text = fmt.Sprintf("chosen by chance, 1 of %d", m.Number)
	case iptables.Recent:
		text = fmt.Sprintf("from a client seen in %s within %d s", m.Text, m.Number)
	case iptables.Set:
		text = "in the ipset " + strings.Replace(m.Text, " ", " by ", 1)
	case iptables.PhysdevIn:
		text = "by a port of a bridge"
	case iptables.VirtualServer:
		text = fmt.Sprintf("of a connection to the virtual server %s", netip.AddrPortFrom(m.Prefix.Addr(), uint16(m.Number)))
	}
	if m.Not {
		return "not " + text
	}
	return text
}

func prefixText(m iptables.Match) string {
	if m.Prefix.IsSingleIP() {
		return m.Prefix.Addr().String()
	}
	return m.Prefix.String()
}

// actual says in words what a packet has, where a condition wanted something else.
func actual(m iptables.Match, p *Packet) string {
	switch m.Kind {
	case iptables.Proto:
		return p.Protocol
	case iptables.Source, iptables.SrcType:
		return "from " + p.Source.String()
	case iptables.Destination, iptables.DstType:
		return "to " + p.Destination.Addr().String()
	case iptables.InInterface:
		if p.In == "" {
			return "sent by the node itself"
		}
		return "by " + p.In
	case iptables.DestPort:
		return fmt.Sprintf("to port %d", p.Destination.Port())
	case iptables.CtState:
		return "of a flow that is " + p.Flow.State.String()
	case iptables.Mark:
		return fmt.Sprintf("marked %#x", p.Mark)
	case iptables.Statistic:
		return "one of the others"
	case iptables.Set:
		return fmt.Sprintf("%s %s -> %s", p.Protocol, p.Source, p.Destination)
	case iptables.PhysdevIn:
		return "by " + cmp.Or(p.In, "the node itself")
	case iptables.VirtualServer:
		return "of another connection"
	}
	return "from " + p.Source.String() + ", which was not"
}
