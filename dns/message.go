package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// client is who asks, and how.
type client struct {
	addr    netip.AddrPort
	proto   string   // udp or tcp
	replies *replies // what clients of its family were told on this socket; may be nil
}

// family is that of the client's address, by its number in metrics: 1 for IPv4, 2 for IPv6.
func (c *client) family() string {
	if addr := c.addr.Addr(); addr.Is6() && !addr.Is4In6() {
		return "2"
	}
	return "1"
}

// query is a question on its way to an answer.
type query struct {
	client
	wire  []byte // the message, until the next is read
	msg   dns.Msg
	opt   *dns.OPT // nil: the client does not speak EDNS0
	start time.Time
	buf   []byte // room for the reply, may be nil
}

// headerSize is the size of the fixed part that every DNS message begins with.
const headerSize = 12

// respond makes the reply to a message, in buf where it fits. It is nil where none is
// due. Where an upstream must be asked first, later does that and makes the reply.
func (s *Server) respond(wire []byte, from client, buf []byte) (reply []byte, later func(context.Context) []byte) {
	defer func() {
		if p := recover(); p != nil {
			reply, later = s.survive(p, wire), nil
		}
	}()
	start := time.Now()
	if from.replies != nil {
		if reply, tally := from.replies.find(wire, s.index.generation.Load(), buf); reply != nil {
			tally.observe(len(wire), len(reply), start)
			return reply, nil
		}
	}
	if len(wire) < headerSize || wire[2]&0x80 != 0 {
		return nil, nil // no message, or itself a reply
	}
	if rcode := acceptable(wire); rcode != dns.RcodeSuccess {
		return reject(wire, rcode), nil
	}
	q := &query{client: from, wire: wire, start: start, buf: buf}
	if err := q.msg.Unpack(wire); err != nil || len(q.msg.Question) != 1 {
		return reject(wire, dns.RcodeFormatError), nil
	}
	q.opt = q.msg.IsEdns0()
	m := new(dns.Msg).SetReply(&q.msg)
	switch {
	case q.opt != nil && q.opt.Version() != 0:
		m.Rcode = dns.RcodeBadVers
		return s.finish(q, m, ""), nil
	case q.msg.Question[0].Qclass != dns.ClassINET:
		m.Rcode = dns.RcodeRefused
		return s.finish(q, m, ""), nil
	}
	reply, ask := s.resolve(q, m)
	if ask == nil {
		return reply, nil
	}
	q.buf, q.wire = nil, bytes.Clone(wire) // by then they are another's
	return nil, func(ctx context.Context) (reply []byte) {
		defer func() {
			if p := recover(); p != nil {
				reply = s.survive(p, q.wire)
			}
		}()
		return ask(ctx)
	}
}

// survive fails one query. One odd message must not end the service of all.
func (s *Server) survive(panicked any, wire []byte) []byte {
	s.metrics.panics.Inc()
	s.log.Error("panic while answering", "message", wire, "panic", panicked, "stack", string(debug.Stack()))
	return reject(wire, dns.RcodeServerFailure)
}

// acceptable looks at a header: we answer queries, of one question each.
func acceptable(wire []byte) (rcode int) {
	if opcode := wire[2] >> 3 & 0xF; opcode != dns.OpcodeQuery {
		return dns.RcodeNotImplemented
	}
	count := func(section int) uint16 { return binary.BigEndian.Uint16(wire[4+2*section:]) }
	// An IXFR carries a record in its authority section; OPT and TSIG are additional.
	if count(0) != 1 || count(1) > 1 || count(2) > 1 || count(3) > 2 {
		return dns.RcodeFormatError
	}
	return dns.RcodeSuccess
}

// reject is a reply that consists of a header, for a message that is not understood.
func reject(wire []byte, rcode int) []byte {
	reply := make([]byte, headerSize)
	copy(reply, wire[:4])           // ID, opcode and RD stay
	reply[2] = reply[2]&0x79 | 0x80 // it is a reply
	reply[3] = byte(rcode) & 0x0F
	return reply
}

// finish makes the message what the client can take: its EDNS0, its size.
func (s *Server) finish(q *query, m *dns.Msg, plugin string) []byte {
	shuffle(m.Answer)
	shuffle(m.Extra)
	q.setOPT(m)
	m.Truncate(q.size())
	m.Compress = true
	reply, err := m.PackBuffer(q.buf)
	if err != nil {
		s.log.Error("pack DNS reply", "name", q.msg.Question[0].Name, "error", err)
		m.Answer, m.Ns, m.Extra, m.Rcode = nil, nil, nil, dns.RcodeServerFailure
		reply, _ = m.PackBuffer(q.buf)
	}
	tally := s.metrics.tally(q, m.Rcode, plugin)
	tally.observe(len(q.wire), len(reply), q.start)
	if q.worthKeeping(m) {
		q.replies.keep(q.wire, reply, m, tally)
	}
	if s.settings.Load().cfg.LogQueries {
		question := &q.msg.Question[0]
		s.log.Info("query", "client", q.addr, "proto", q.proto, "id", q.msg.Id,
			"name", question.Name, "type", dns.Type(question.Qtype), "rcode", dns.RcodeToString[m.Rcode],
			"size", len(reply), "duration", time.Since(q.start))
	}
	return reply
}

// worthKeeping reports whether the same query will be replied to likewise. Only answers
// out of the index are authoritative, and EDNS0 options such as cookies differ each time.
func (q *query) worthKeeping(m *dns.Msg) bool {
	return q.replies != nil && m.Authoritative && (q.opt == nil || len(q.opt.Option) == 0)
}

// size is how long a reply may be.
func (q *query) size() int {
	switch {
	case q.proto == "tcp":
		return dns.MaxMsgSize
	case q.opt == nil:
		return dns.MinMsgSize
	}
	return max(int(q.opt.UDPSize()), dns.MinMsgSize)
}

// setOPT answers EDNS0 with EDNS0 and nothing with nothing. The client's size and its
// DNSSEC bit go back as they came; of options we know none.
func (q *query) setOPT(m *dns.Msg) {
	opt := m.IsEdns0()
	if q.opt == nil {
		if opt != nil { // an upstream's
			m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr == opt })
		}
		return
	}
	if opt == nil {
		opt = &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		m.Extra = append(m.Extra, opt)
	}
	opt.Hdr.Ttl = 0
	opt.SetUDPSize(q.opt.UDPSize())
	opt.SetDo(q.opt.Do())
	if m.Rcode > 0xF {
		opt.SetExtendedRcode(uint16(m.Rcode))
	}
}

// shuffle orders addresses at random, so that clients that take the first spread over
// all of them. Other records stay before: a CNAME must precede what it leads to.
func shuffle(records []dns.RR) {
	first := 0
	for i, rr := range records {
		if t := rr.Header().Rrtype; t != dns.TypeA && t != dns.TypeAAAA && t != dns.TypeOPT {
			records[i], records[first] = records[first], records[i]
			first++
		}
	}
	addresses := records[first:]
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
}

// rcodeName is the name of a response code, for metrics.
func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return fmt.Sprintf("RCODE%d", rcode)
}
