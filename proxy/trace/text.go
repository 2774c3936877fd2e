package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"

	"orrery.example.org/proxy/packet"
	"orrery.example.org/proxy/plan"
)

// Text tells it all to a reader. Rules that did not match are told only with all.
func (t *Trace) Text(all bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "from   %s\n", t.From)
	fmt.Fprintf(&b, "to     %s\n", t.To)
	fmt.Fprintf(&b, "first  %s\n", &t.Result.Packet)
	if t.Via != nil {
		t.Via.text(&b)
	}
	if t.Node == "" {
		return b.String()
	}
	fmt.Fprintf(&b, "rules  of %s, mode %s\n\n", t.Node, t.Mode)
	t.endpoints(&b)
	for i := range t.Result.Outcomes {
		t.outcome(&b, &t.Result.Outcomes[i])
	}
	t.ways(&b, all)
	return b.String()
}

// ways tells the way to each outcome; of those that only chance parted one way, unless
// all is asked for.
func (t *Trace) ways(b *strings.Builder, all bool) {
	type end struct {
		fate   packet.Fate
		causes packet.Causes
	}
	others := map[end]int{}
	first := map[end]bool{}
	for i := range t.Result.Outcomes {
		others[end{t.Result.Outcomes[i].Fate, t.Result.Outcomes[i].Packet.Causes}]++
	}
	for i := range t.Result.Outcomes {
		o := &t.Result.Outcomes[i]
		e := end{o.Fate, o.Packet.Causes}
		if first[e] && !all {
			continue
		}
		first[e] = true
		b.WriteString("\n" + o.Text(all))
		if n := others[e] - 1; n > 0 && !all {
			fmt.Fprintf(b, "  (%d others go the same way, to other endpoints; --all tells each)\n", n)
		}
	}
}

// String is the place with what it is.
func (p Place) String() string {
	text := p.Addr.String()
	if p.Port != 0 {
		text = netip.AddrPortFrom(p.Addr, p.Port).String()
	}
	if p.Is != "" {
		text += ", " + p.Is
	}
	return text
}

// endpoints lists who may serve, and why not the others.
func (t *Trace) endpoints(b *strings.Builder) {
	if t.Port == nil {
		fmt.Fprintf(b, "No Service has this address, port and protocol.%s\n\n", t.near)
		return
	}
	if len(t.Port.Endpoints) == 0 {
		fmt.Fprintf(b, "%s has no endpoints: does its selector match any Pod?\n\n", t.Port.Name)
		return
	}
	w := tabwriter.NewWriter(b, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "ENDPOINT\tPOD\tNODE\tUSED")
	for i := range t.Port.Endpoints {
		e := &t.Port.Endpoints[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Addr, orNone(e.Target), orNone(e.Node), use(t.Port, e))
	}
	_ = w.Flush()
	b.WriteString("\n")
}

// use says under which of the policies that the port has an endpoint is used, and why.
func use(p *plan.Port, e *plan.Endpoint) string {
	say := func(u plan.Use) string {
		if u.Used() {
			return "yes: " + u.String()
		}
		return "no: " + u.String()
	}
	switch {
	case p.UsesCluster() && p.UsesLocal():
		return fmt.Sprintf("policy Cluster: %s; Local: %s", say(e.Cluster), say(e.Local))
	case p.UsesLocal():
		return say(e.Local)
	}
	return say(e.Cluster)
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// outcome says in a line what becomes of the packet.
func (t *Trace) outcome(b *strings.Builder, o *packet.Outcome) {
	chance, _ := o.Probability.Float64()
	fmt.Fprintf(b, "%5.1f %%  ", 100*chance)
	switch to := o.Packet.Destination; {
	case o.Fate == packet.Rejected:
		b.WriteString("refused: the sender gets an error at once")
	case o.Fate == packet.Dropped:
		b.WriteString("dropped: the sender waits in vain")
	case o.Endpoint.IsValid():
		fmt.Fprintf(b, "to %s%s", to, t.name(to.Addr()))
	case t.nowhere:
		fmt.Fprintf(b, "on to %s, untouched: no machine has this address, and no answer comes", to)
	default:
		fmt.Fprintf(b, "on to %s%s, untouched", to, t.name(to.Addr()))
	}
	switch {
	case o.Masqueraded:
		fmt.Fprintf(b, "; it sees the node as its client: %s", o.Packet.Causes)
	case o.Endpoint.IsValid():
		fmt.Fprintf(b, "; it sees the client's own address")
	}
	b.WriteString("\n")
}

func (t *Trace) name(addr netip.Addr) string {
	if name := t.names[addr]; name != "" {
		return " (" + name + ")"
	}
	return ""
}
