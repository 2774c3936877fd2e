package ipvs

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"orrery.example.org/proxy/plan"
)

// tally is the Model of many Services that come and go: who claims which virtual server,
// and how many ports ask for what they may share.
type tally struct {
	settings  *Settings
	own       Own
	servers   map[Virtual][]Server // by the names of their ports; the first has it
	entries   map[Entry]int
	addresses map[netip.Addr]int
	noNode    map[Virtual]int
}

func newTally(s *Settings, own Own) *tally {
	return &tally{s, own, map[Virtual][]Server{}, map[Entry]int{}, map[netip.Addr]int{}, map[Virtual]int{}}
}

func (t *tally) add(svc *plan.Service) {
	for m := range t.ports(svc) {
		for v, server := range m.Servers {
			t.servers[v] = append(t.servers[v], server)
			slices.SortStableFunc(t.servers[v], func(a, b Server) int { return cmp.Compare(a.Port.String(), b.Port.String()) })
		}
		count(t.entries, m.Entries, 1)
		count(t.addresses, m.Addresses, 1)
		count(t.noNode, m.NoNode, 1)
	}
}

func (t *tally) remove(svc *plan.Service) {
	for m := range t.ports(svc) {
		for v, server := range m.Servers {
			t.servers[v] = slices.DeleteFunc(t.servers[v], func(s Server) bool { return s.Port == server.Port })
			if len(t.servers[v]) == 0 {
				delete(t.servers, v)
			}
		}
		count(t.entries, m.Entries, -1)
		count(t.addresses, m.Addresses, -1)
		count(t.noNode, m.NoNode, -1)
	}
}

func count[K comparable](all map[K]int, some map[K]bool, by int) {
	for k := range some {
		if all[k] += by; all[k] <= 0 {
			delete(all, k)
		}
	}
}

// ports yields the models of a Service's ports. nil has none.
func (t *tally) ports(svc *plan.Service) func(func(Model) bool) {
	return func(yield func(Model) bool) {
		for i := 0; svc != nil && i < len(svc.Ports); i++ {
			if !yield(t.settings.portModel(&svc.Ports[i], t.own)) {
				return
			}
		}
	}
}

// move takes Services from one plan to the next and returns what the kernel must hold of
// all that they touch, before and after.
func (t *tally) move(changes []plan.Change) (before, after Model) {
	touched := newModel()
	for _, c := range changes {
		for _, svc := range []*plan.Service{c.Old, c.New} {
			for m := range t.ports(svc) {
				maps.Copy(touched.Servers, m.Servers)
				maps.Copy(touched.Entries, m.Entries)
				maps.Copy(touched.Addresses, m.Addresses)
				maps.Copy(touched.NoNode, m.NoNode)
			}
		}
	}
	before = t.part(touched)
	for _, c := range changes {
		t.remove(c.Old)
		t.add(c.New)
	}
	return before, t.part(touched)
}

// part is what there is of a Model now.
func (t *tally) part(of Model) Model {
	m := newModel()
	for v := range of.Servers {
		if all := t.servers[v]; len(all) > 0 {
			m.Servers[v] = all[0]
		}
	}
	for e := range of.Entries {
		if t.entries[e] > 0 {
			m.Entries[e] = true
		}
	}
	for a := range of.Addresses {
		if t.addresses[a] > 0 {
			m.Addresses[a] = true
		}
	}
	for v := range of.NoNode {
		if t.noNode[v] > 0 {
			m.NoNode[v] = true
		}
	}
	return m
}

// all is the whole Model.
func (t *tally) all() Model {
	m := newModel()
	for v, all := range t.servers {
		m.Servers[v] = all[0]
	}
	for e := range t.entries {
		m.Entries[e] = true
	}
	for a := range t.addresses {
		m.Addresses[a] = true
	}
	for v := range t.noNode {
		m.NoNode[v] = true
	}
	return m
}
