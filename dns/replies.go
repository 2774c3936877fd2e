package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"net"

	"github.com/miekg/dns"
)

// replies keeps packed replies by the query that they answer, until the index changes:
// until then the same question has the same answer, but for its identifier and the order
// of its addresses. Most of what resolvers ask, they ask again. It belongs to one socket,
// so nobody has to lock it.
type replies struct {
	generation uint64 // of the index
	byQuery    map[string]*kept
	size       int
}

// kept is a reply as it was sent.
type kept struct {
	wire      []byte
	addresses addressRecords
	tally     tally
}

// addressRecords are those records of a packed reply that may change places: all of one
// length, beginning at an offset.
type addressRecords struct{ offset, length, count int }

// maxReplies bounds the memory of kept replies, in bytes. Who asks for many random names
// makes us forget and begin again; it costs him more than us.
const (
	maxReplies    = 2 << 20
	replyOverhead = 160 // of a map's entry and the slices in it
)

// find makes the reply to a query in buf, if the same was asked before. It is nil if not.
func (r *replies) find(query []byte, generation uint64, buf []byte) ([]byte, *tally) {
	if r.generation != generation {
		r.generation, r.size = generation, 0
		clear(r.byQuery)
		return nil, nil
	}
	if len(query) < headerSize {
		return nil, nil
	}
	k, ok := r.byQuery[string(query[2:])]
	if !ok || len(buf) < len(k.wire) {
		return nil, nil
	}
	reply := buf[:copy(buf, k.wire)]
	copy(reply, query[:2]) // the identifier
	k.addresses.shuffle(reply)
	return reply, &k.tally
}

// keep remembers the reply to a query.
func (r *replies) keep(query, reply []byte, m *dns.Msg, t tally) {
	addresses, ok := findAddresses(reply, m)
	if !ok {
		return
	}
	size := len(query) + len(reply) + replyOverhead
	if r.byQuery == nil || r.size+size > maxReplies {
		r.byQuery, r.size = map[string]*kept{}, 0
	}
	r.byQuery[string(query[2:])] = &kept{append([]byte(nil), reply...), addresses, t}
	r.size += size
}

// findAddresses finds the addresses of a packed reply. It is false where there are several
// to be sent in an order of their own each time that this is too simple for: behind CNAME
// records, or beside SRV records, or where a part was left out for want of room.
func findAddresses(reply []byte, m *dns.Msg) (a addressRecords, ok bool) {
	if m.Truncated || countAddresses(m.Extra) > 1 {
		return a, false
	}
	a.count = countAddresses(m.Answer)
	if a.count < 2 {
		return addressRecords{}, true
	}
	a.offset = headerSize
	for reply[a.offset] != 0 { // the name in the question, which has no pointers
		a.offset += 1 + int(reply[a.offset])
	}
	a.offset += 1 + 4               // the root, type and class
	a.length = 2 + 10 + net.IPv4len // a pointer to the name, the fixed part, the address
	if m.Question[0].Qtype == dns.TypeAAAA {
		a.length = 2 + 10 + net.IPv6len
	}
	end := a.offset + a.count*a.length
	return a, len(m.Answer) == a.count && end <= len(reply) && pointsToQuestion(reply[a.offset:end], a.length)
}

// pointsToQuestion reports whether each record of a length has the question's name.
func pointsToQuestion(records []byte, length int) bool {
	for ; len(records) > 0; records = records[length:] {
		if binary.BigEndian.Uint16(records) != 0xC000|headerSize {
			return false
		}
	}
	return true
}

func countAddresses(records []dns.RR) (n int) {
	for _, rr := range records {
		if t := rr.Header().Rrtype; t == dns.TypeA || t == dns.TypeAAAA {
			n++
		}
	}
	return n
}

// shuffle puts the addresses of a packed reply in a random order.
func (a addressRecords) shuffle(reply []byte) {
	var spare [2 + 10 + net.IPv6len]byte
	record := func(i int) []byte { return reply[a.offset+i*a.length:][:a.length] }
	for i := a.count - 1; i > 0; i-- {
		if j := rand.IntN(i + 1); j != i {
			copy(spare[:], record(i))
			copy(record(i), record(j))
			copy(record(j), spare[:])
		}
	}
}
