package packet

import (
	"fmt"
	"strings"
)

// Text tells the whole story to a reader: the packet, each outcome, and the way to it.
// Rules that did not match are told only with all; of a large cluster they are many.
func (r Result) Text(all bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", &r.Packet)
	for i := range r.Outcomes {
		b.WriteString("\n" + r.Outcomes[i].Text(all))
	}
	return b.String()
}

// Text tells an outcome and the way to it.
func (o *Outcome) Text(all bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", o)
	hook := Hook(255)
	for _, s := range o.Steps() {
		if !all && !s.Matched() {
			continue
		}
		if s.Hook != hook {
			hook = s.Hook
			fmt.Fprintf(&b, "  %s\n", hook)
		}
		s.appendTo(&b)
	}
	return b.String()
}

// appendTo writes the meaning first, then the evidence.
func (s *Step) appendTo(b *strings.Builder) {
	if s.Rule == nil {
		fmt.Fprintf(b, "    * %s\n", s.Note)
		return
	}
	sign := "+"
	if !s.Matched() {
		sign = "-"
	}
	fmt.Fprintf(b, "    %s %s\n", sign, s.Rule.Meaning(s.Packet))
	fmt.Fprintf(b, "        because %s\n", s.Why())
	fmt.Fprintf(b, "        %s %s %d:%s\n", s.Chain.Table, s.Chain.Name, s.Number, indented(s.Rule.String()))
}

func indented(rule string) string {
	if rule == "" {
		return ""
	}
	return " " + rule
}

// String is the packet in a line.
func (p *Packet) String() string {
	way := "by " + p.In
	if p.In == "" {
		way = "from a process of the node"
	}
	return fmt.Sprintf("%s %s -> %s, %s, %s, mark %#x", p.Protocol, p.Source, p.Destination, way, p.Flow.State, p.Mark)
}
