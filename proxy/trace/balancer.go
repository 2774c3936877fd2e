package trace

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Forward is a port that a load balancer in front of the nodes serves. What it decides by,
// the health of nodes, the API does not know; a lab does.
type Forward struct {
	To       netip.AddrPort
	Protocol string            // tcp, udp
	Nodes    []string          // each connection goes to one of them
	Excluded map[string]string // why not to the others
}

// forward is what a load balancer does with a packet from outside: nil if it has none of
// the packet's address, and no nodes if it refuses it.
func (r *resolver) forward(to Place, protocol string) *Forward {
	var same *Forward
	for i := range r.question.Forwards {
		f := &r.question.Forwards[i]
		switch {
		case f.To.Addr() != to.Addr:
		case f.To.Port() == to.Port && f.Protocol == protocol:
			return f
		default:
			same = &Forward{To: netip.AddrPortFrom(to.Addr, to.Port), Protocol: protocol}
		}
	}
	return same
}

// text says where the load balancer sends the packet, and why to no other node.
func (f *Forward) text(b *strings.Builder) {
	if len(f.Nodes) == 0 {
		why := "the load balancer has no such port"
		if len(f.Excluded) > 0 {
			why = "no node takes connections"
		}
		fmt.Fprintf(b, "by     the load balancer, which refuses it: %s\n", why)
	} else {
		fmt.Fprintf(b, "by     the load balancer, which gives each connection to one of %s (--at NODE asks another)\n", strings.Join(f.Nodes, ", "))
	}
	for _, node := range slices.Sorted(maps.Keys(f.Excluded)) {
		fmt.Fprintf(b, "       not to %s: %s\n", node, f.Excluded[node])
	}
}
