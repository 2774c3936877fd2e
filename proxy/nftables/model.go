package nftables

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"orrery.example.org/proxy/plan"
)

// model is what the kernel is to hold: who claims which address, and how many ports ask
// for an element that they share.
type model struct {
	nodeIPs []netip.Addr
	claims  map[string][]claim // by the key of the address; the first has it
	members map[Slot]int
}

func newModel(nodeIPs []netip.Addr) *model {
	return &model{nodeIPs: nodeIPs, claims: map[string][]claim{}, members: map[Slot]int{}}
}

// touched is what changes of some Services can have an effect on.
type touched struct {
	keys    map[string]bool
	members map[Slot]bool
}

// move takes Services from one plan to the next. It returns the elements of all they
// touch before and after.
func (m *model) move(changes []plan.Change) (before, after Elements) {
	t := touched{map[string]bool{}, map[Slot]bool{}}
	for _, c := range changes {
		for _, svc := range []*plan.Service{c.Old, c.New} {
			for p := range ports(svc) {
				for key := range claims(p, m.nodeIPs) {
					t.keys[key] = true
				}
				for _, slot := range members(p) {
					t.members[slot] = true
				}
			}
		}
	}
	before = m.elements(t)
	for _, c := range changes {
		m.remove(c.Old)
		m.add(c.New)
	}
	return before, m.elements(t)
}

func ports(svc *plan.Service) func(func(*plan.Port) bool) {
	return func(yield func(*plan.Port) bool) {
		for i := 0; svc != nil && i < len(svc.Ports); i++ {
			if !yield(&svc.Ports[i]) {
				return
			}
		}
	}
}

func (m *model) add(svc *plan.Service) {
	for p := range ports(svc) {
		for key, c := range claims(p, m.nodeIPs) {
			all := append(m.claims[key], c)
			slices.SortStableFunc(all, claim.compare)
			m.claims[key] = all
		}
		for _, slot := range members(p) {
			m.members[slot]++
		}
	}
}

func (m *model) remove(svc *plan.Service) {
	for p := range ports(svc) {
		for key := range claims(p, m.nodeIPs) {
			rest := slices.DeleteFunc(m.claims[key], func(c claim) bool { return c.port.Name == p.Name })
			if m.claims[key] = rest; len(rest) == 0 {
				delete(m.claims, key)
			}
		}
		for _, slot := range members(p) {
			if m.members[slot]--; m.members[slot] <= 0 {
				delete(m.members, slot)
			}
		}
	}
}

// elements are what the kernel must hold of a part of the model.
func (m *model) elements(t touched) Elements {
	all := Elements{}
	for key := range t.keys {
		if c := m.claims[key]; len(c) > 0 {
			maps.Copy(all, c[0].elements(key))
		}
	}
	for slot := range t.members {
		if m.members[slot] > 0 {
			all[slot] = ""
		}
	}
	return all
}

// all are all elements of the model.
func (m *model) all() Elements {
	all := Elements{}
	for key, c := range m.claims {
		maps.Copy(all, c[0].elements(key))
	}
	for slot := range m.members {
		all[slot] = ""
	}
	return all
}

// shapes are the chains that elements lead to and that are not part of the text.
func shapes(elements Elements) map[string]bool {
	all := map[string]bool{}
	for slot, value := range elements {
		switch slot.Set {
		case mapClusterPolicy, mapLocalPolicy, mapTimeouts:
			all[value[len("goto "):]] = true
		}
	}
	return all
}

// isShape tells whether a chain is one of those that Shape makes.
func isShape(chain string) bool {
	return strings.HasPrefix(chain, prefixOneOf) || strings.HasPrefix(chain, prefixRemember)
}

// isEndpoints tells whether a map is one of those that Shape makes.
func isEndpoints(set string) bool {
	return strings.HasPrefix(set, prefixEndpoints) || strings.HasPrefix(set, prefixLocalEndpoints)
}

// foreign tells whether a table holds chains or sets that are not ours: it is, perhaps,
// that of a kube-proxy.
func foreign(have contents) bool {
	ours := func(name string) bool {
		return strings.Contains(text, " "+name+"\n") || strings.Contains(text, " "+name+" {")
	}
	made := map[string]bool{}
	for _, chain := range have.chains {
		switch {
		case strings.HasPrefix(chain, prefixOneOf):
			made[mapOf(chain)] = true
		case !isShape(chain) && !ours(chain):
			return true
		}
	}
	for _, set := range have.sets {
		if !made[set] && !ours(set) {
			return true
		}
		delete(made, set)
	}
	return len(made) > 0
}
