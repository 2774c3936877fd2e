package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// expression is what an nftables rule reads from a packet: one value, or several one
// after the other, which together are the key of an element.
type expression []field

// field is one value.
type field struct {
	name    string
	value   func(*Packet) string // as the kernel stores it: padded to four bytes
	text    func(*Packet) string
	choices int // how many numbers chance chooses from; such a field has no value
}

// fields are all that the rules read, in nft's words.
var fields = []struct {
	words []string
	field
}{
	{[]string{"ip", "saddr"}, address("source", func(p *Packet) netip.Addr { return p.Source })},
	{[]string{"ip", "daddr"}, address("destination", func(p *Packet) netip.Addr { return p.Destination.Addr() })},
	{[]string{"th", "dport"}, port("port", func(p *Packet) uint16 { return p.Destination.Port() })},
	{[]string{"meta", "l4proto"}, field{
		name:  "protocol",
		value: func(p *Packet) string { return string([]byte{protocolNumbers[p.Protocol], 0, 0, 0}) },
		text:  func(p *Packet) string { return p.Protocol },
	}},
	{[]string{"ct", "original", "ip", "saddr"}, address("original source", func(p *Packet) netip.Addr { return p.Source })},
	{[]string{"ct", "original", "ip", "daddr"}, address("original destination", func(p *Packet) netip.Addr { return p.asked().Addr() })},
	{[]string{"ct", "original", "proto-dst"}, port("original port", func(p *Packet) uint16 { return p.asked().Port() })},
}

func address(name string, of func(*Packet) netip.Addr) field {
	return field{
		name:  name,
		value: func(p *Packet) string { return string(of(p).AsSlice()) },
		text:  func(p *Packet) string { return of(p).String() },
	}
}

func port(name string, of func(*Packet) uint16) field {
	return field{
		name:  name,
		value: func(p *Packet) string { return string(append(binary.BigEndian.AppendUint16(nil, of(p)), 0, 0)) },
		text:  func(p *Packet) string { return strconv.Itoa(int(of(p))) },
	}
}

// expression reads fields that are joined by dots.
func (p *parser) expression() (expression, error) {
	var e expression
	for {
		f, err := p.field()
		if err != nil {
			return nil, err
		}
		if e = append(e, f); !p.next(".") {
			return e, nil
		}
	}
}

func (p *parser) field() (field, error) {
	for i, w := range p.words { // the families differ in nothing else
		if w == "ip6" {
			p.words[i] = "ip"
		}
		if i == 2 {
			break
		}
	}
	for _, f := range fields {
		if p.next(f.words...) {
			return f.field, nil
		}
	}
	if p.next("numgen", "random", "mod") {
		n, err := strconv.Atoi(p.word())
		if err != nil || n < 1 {
			return field{}, fmt.Errorf("numgen: %d: %w", n, err)
		}
		return field{name: "chance", choices: n}, nil
	}
	return field{}, fmt.Errorf("%v is not known", p.words)
}

// value is the key of the element, without the number that chance chooses.
func (e expression) value(p *Packet) string {
	var b strings.Builder
	for _, f := range e {
		if f.value != nil {
			b.WriteString(f.value(p))
		}
	}
	return b.String()
}

// text is the key as nft writes it.
func (e expression) text(p *Packet) string {
	var parts []string
	for _, f := range e {
		if f.text != nil {
			parts = append(parts, f.text(p))
		}
	}
	return strings.Join(parts, " . ")
}

// String names the fields.
func (e expression) String() string {
	var names []string
	for _, f := range e {
		names = append(names, f.name)
	}
	return strings.Join(names, " . ")
}
