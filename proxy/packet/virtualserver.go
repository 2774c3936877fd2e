package packet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"orrery.example.org/proxy/plan"
)

// virtualServers is IPVS itself: it finds the virtual server that a packet is for, and
// sends it to one of the real servers.
type virtualServers struct{ rules *IPVS }

// How each scheduler chooses.
var schedulers = map[string]string{
	"rr": "in turn", "wrr": "in turn, by weight", "lc": "the one with the fewest connections",
	"wlc": "the one with the fewest connections for its weight", "sed": "the one with the shortest expected delay",
	"nq": "an idle one, or else the one with the shortest expected delay", "sh": "by a hash of the client's address",
	"mh": "by a consistent hash of the client's address and port", "dh": "by a hash of the destination",
	"lblc": "the one that the destination had, unless it is overloaded", "lblcr": "one of those that the destination had",
	"fo": "the one with the highest weight", "ovf": "the one with the highest weight, until it is full",
}

// Try sends the packet to a real server. Which of them depends on what happened before;
// for a walk, which knows nothing of that, each is as likely as the others.
func (r *virtualServers) Try(p *Packet, node *Node) ([]Branch, error) {
	pass := []Branch{{Share: Whole, Failed: 0}}
	if p.Flow.IPVS && !p.Flow.State.first() {
		return []Branch{r.send(p, node, p.Flow.Endpoint, Whole)}, nil
	}
	v, server, is := r.rules.server(p)
	if !is || !p.Flow.State.first() {
		return pass, nil
	}
	if len(server.Real) == 0 {
		return []Branch{{Share: Whole, Failed: Met, Do: Reject}}, nil
	}
	client, remembered := p.recall(v.String())
	if remembered && client.Age <= client.Timeout && slices.Contains(server.Real, client.Endpoint) {
		return []Branch{r.send(p, node, client.Endpoint, Whole)}, nil
	}
	var all []Branch
	for _, real := range server.Real {
		q := p
		if server.Persistence > 0 {
			q = p.remember(Memory{List: v.String(), Source: p.Source, Endpoint: real, Timeout: time.Duration(server.Persistence) * time.Second})
		}
		all = append(all, r.send(q, node, real, Share{1, int64(len(server.Real))}))
	}
	return all, nil
}

// send is one branch: the packet begins anew at OUTPUT, unless the node itself is the
// real server.
func (r *virtualServers) send(p *Packet, node *Node, to netip.AddrPort, share Share) Branch {
	q := p.to(to)
	q.Flow.IPVS = true
	b := Branch{Share: share, Failed: Met, After: q, Do: Resend}
	if node.Local(to.Addr()) {
		b.Do = Accept
	}
	return b
}

// Why tells of the virtual server.
func (r *virtualServers) Why(p *Packet, _ *Node, _ int) string {
	v, server, is := r.rules.server(p)
	switch {
	case p.Flow.IPVS && !p.Flow.State.first():
		return "the first packet of its flow went that way"
	case !is:
		return fmt.Sprintf("there is no virtual server %s", v)
	case !p.Flow.State.first():
		return "no connection of IPVS is known that it belongs to"
	case len(server.Real) == 0:
		return fmt.Sprintf("the virtual server %s has no real server", v)
	}
	text := fmt.Sprintf("the virtual server %s chooses among its real servers (%d) %s (scheduler %s)",
		v, len(server.Real), schedulers[server.Scheduler], server.Scheduler)
	if server.Persistence > 0 {
		text += fmt.Sprintf("; a client stays with its own for %d s (persistence)", server.Persistence)
	}
	return text
}

// Meaning is what IPVS does.
func (r *virtualServers) Meaning(p *Packet) string {
	if p != nil {
		if _, server, is := r.rules.server(p); is && len(server.Real) == 0 {
			return fmt.Sprintf("nothing serves %s: say so", server.Port)
		} else if is {
			return fmt.Sprintf("IPVS sends it to a real server of %s, which becomes the destination", server.Port)
		}
	}
	return "is it for a virtual server of IPVS?"
}

// Service is the port that the packet's virtual server was made for.
func (r *virtualServers) Service(p *Packet) plan.PortName {
	_, server, _ := r.rules.server(p)
	return server.Port
}

// String is how to see them.
func (r *virtualServers) String() string { return "ipvsadm --list --numeric" }
