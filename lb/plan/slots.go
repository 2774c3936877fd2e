package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

// Group is a set of nodes that connections are spread over. Services that use the same
// nodes share a group.
type Group struct {
	Nodes    []string // sorted
	ByClient bool     // all connections of a client go to the same node
}

// ID is a short name for the group, the same in every run.
func (g Group) ID() string {
	sum := sha256.Sum256([]byte(strings.Join(g.Nodes, " ")))
	id := hex.EncodeToString(sum[:4])
	if g.ByClient {
		id += "-by-client"
	}
	return id
}

// SlotCount is how many slots the nodes of a group share: a prime, and many times the
// number of nodes, so that their shares are nearly equal.
const SlotCount = 1021

// Slots says which node has which slot. A connection's hash picks the slot.
//
// This is the table of Google's Maglev: each node has an order of its own in which it
// would like to have the slots, and they take turns in choosing. A node that comes or
// goes takes or leaves its own share, and nearly all other connections stay where they
// are. Everyone who knows the nodes finds the same table, so that a balancer that was
// restarted, and remembers nothing, goes on where the old one ended.
func (g Group) Slots() []string {
	type wish struct{ offset, skip, next uint64 }
	wishes := make([]wish, len(g.Nodes))
	for i, name := range g.Nodes {
		sum := sha256.Sum256([]byte(name))
		wishes[i] = wish{
			offset: binary.BigEndian.Uint64(sum[:]) % SlotCount,
			skip:   binary.BigEndian.Uint64(sum[8:])%(SlotCount-1) + 1,
		}
	}
	slots := make([]string, SlotCount)
	for filled := 0; filled < SlotCount && len(g.Nodes) > 0; {
		for i := range wishes {
			w := &wishes[i]
			slot := (w.offset + w.next*w.skip) % SlotCount
			for slots[slot] != "" {
				w.next++
				slot = (w.offset + w.next*w.skip) % SlotCount
			}
			slots[slot] = g.Nodes[i]
			w.next++
			if filled++; filled == SlotCount {
				break
			}
		}
	}
	return slots
}

// Equal compares two groups.
func (g Group) Equal(other Group) bool {
	return g.ByClient == other.ByClient && slices.Equal(g.Nodes, other.Nodes)
}
