package nftables

import (
	"cmp"
	"maps"
	"slices"
)

// op changes one slot.
type op struct {
	slot     Slot
	del, add bool // both: what it holds is replaced
	value    string
}

// size is about how many bytes the op takes in a netlink message.
func (o op) size() int {
	n := 0
	if o.del {
		n += 48 + len(o.slot.Key) + len(o.slot.KeyEnd)
	}
	if o.add {
		n += 64 + len(o.slot.Key) + len(o.slot.KeyEnd) + len(o.value)
	}
	return n
}

// compare orders ops so that between any two of them the data plane works: an element
// comes before those that lead to it, and goes after them. What is shared by several
// addresses comes first and goes last.
func (o op) compare(other op) int {
	return cmp.Or(cmp.Compare(o.rank(), other.rank()), cmp.Compare(o.slot.Set, other.slot.Set), cmp.Compare(o.slot.Key, other.slot.Key))
}

func (o op) rank() int {
	level := 1
	switch {
	case o.slot.Set == mapServiceIPs:
		level = 2
	case isEndpoints(o.slot.Set), o.slot.Set == setSourceRanges:
		level = 0
	}
	if o.add {
		return level
	}
	return 5 - level
}

// difference lists the ops that lead from one state to another, those of one address
// together.
func difference(have, want Elements, keyLen int) [][]op {
	groups := map[string][]op{}
	put := func(o op) { g := group(o, keyLen); groups[g] = append(groups[g], o) }
	for slot, value := range want {
		if old, there := have[slot]; !there || old != value {
			put(op{slot: slot, del: there, add: true, value: value})
		}
	}
	for slot := range have {
		if _, wanted := want[slot]; !wanted {
			put(op{slot: slot, del: true})
		}
	}
	var out [][]op
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		slices.SortFunc(groups[name], op.compare)
		out = append(out, groups[name])
	}
	return out
}

// group names what an op belongs with: its address, or the shared sets, which come
// before all addresses or after them.
func group(o op, keyLen int) string {
	switch {
	case o.slot.Set != setHairpin && o.slot.Set != setClusterIPs:
		return "b" + o.slot.Key[:keyLen]
	case o.add:
		return "a"
	}
	return "c"
}

// transactions cuts groups of ops into transactions of at most limit bytes. A group is
// cut only if it is larger than that by itself.
//
// The kernel takes no more than fits into a socket's send buffer, 212,992 bytes unless
// real root enlarges it.
func transactions(groups [][]op, limit int, commit func([]op) error) error {
	var open []op
	size := 0
	flush := func() error {
		if len(open) == 0 {
			return nil
		}
		err := commit(open)
		open, size = open[:0], 0
		return err
	}
	for _, g := range groups {
		total := 0
		for _, o := range g {
			total += o.size()
		}
		if size+total > limit && size > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		for _, o := range g {
			if size+o.size() > limit && size > 0 {
				if err := flush(); err != nil {
					return err
				}
			}
			open, size = append(open, o), size+o.size()
		}
	}
	return flush()
}
