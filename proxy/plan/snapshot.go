package plan

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// Snapshot is the plan of a whole node and family at one moment.
type Snapshot struct {
	Services map[Name]*Service
	Local    Local
	// NodePortIPs are the addresses on which NodePorts answer; nil means all of the node's.
	NodePortIPs []netip.Addr
}

// Local says how to tell that a packet comes from a Pod of this node; at most one of its
// fields is set. With none nothing can tell.
type Local struct {
	CIDR      netip.Prefix
	Interface string // a bridge, or a prefix of interface names followed by +
}

// All yields the Services in the order of their names.
func (s Snapshot) All() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		names := slices.SortedFunc(maps.Keys(s.Services), func(a, b Name) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		for _, name := range names {
			if !yield(s.Services[name]) {
				return
			}
		}
	}
}

// Endpoints counts the endpoints of all ports of all Services.
func (s Snapshot) Endpoints() int {
	n := 0
	for _, svc := range s.Services {
		for i := range svc.Ports {
			n += len(svc.Ports[i].Endpoints)
		}
	}
	return n
}

// Report is what a backend did in one sync, by kernel table.
type Report struct {
	Written map[string]int // rules written
	Total   map[string]int // rules in the kernel now
	Batches int            // transactions, or programs run
}
