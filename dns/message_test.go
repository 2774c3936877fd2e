package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// readyServer is a server that knows the test's cluster and has no sockets.
func readyServer(t testing.TB) *Server {
	t.Helper()
	s, err := New(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	s.index.view = viewOf(world())
	s.settings.Load().resolver.locals = testResolver("").locals
	close(s.ready)
	return s
}

var (
	byUDP = client{addr: netip.MustParseAddrPort("10.244.1.7:4321"), proto: "udp"}
	byTCP = client{addr: netip.MustParseAddrPort("[fd00:10:244::7]:4321"), proto: "tcp"}
)

// rawQuery is a message of a header and of what the rest says.
func rawQuery(id, flags uint16, counts [4]uint16, rest string) []byte {
	wire := binary.BigEndian.AppendUint16(nil, id)
	wire = binary.BigEndian.AppendUint16(wire, flags)
	for _, count := range counts {
		wire = binary.BigEndian.AppendUint16(wire, count)
	}
	return append(wire, rest...)
}

// TestMessages is about messages that are not plain queries.
func TestMessages(t *testing.T) {
	const (
		question = "\x04svc1\x06testns\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"
		chaos    = "\x07version\x04bind\x00\x00\x10\x00\x03"
		anyClass = "\x05local\x00\x00\x01\x00\xff"
		rd       = 1 << 8
	)
	opcode := func(n uint16) uint16 { return n << 11 }
	one := [4]uint16{1, 0, 0, 0}
	for _, test := range []struct {
		about string
		wire  []byte
		want  string // "" for no reply at all
	}{
		{"a query", rawQuery(7, rd, one, question), "NOERROR rd q=1 an=1"},
		{"a query without recursion", rawQuery(7, 0, one, question), "NOERROR q=1 an=1"},
		{"nothing", nil, ""},
		{"less than a header", []byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00"), ""},
		{"a reply", rawQuery(7, 1<<15, one, question), ""},
		{"no question", rawQuery(7, rd, [4]uint16{}, ""), "FORMERR rd q=0 an=0"},
		{"two questions", rawQuery(7, rd, [4]uint16{2, 0, 0, 0}, question+question), "FORMERR rd q=0 an=0"},
		{"a question that is not there", rawQuery(7, 0, one, ""), "FORMERR q=0 an=0"},
		{"half a question", rawQuery(7, 0, one, question[:9]), "FORMERR q=0 an=0"},
		{"a name that points at itself", rawQuery(7, 0, one, "\xc0\x0c\x00\x01\x00\x01"), "FORMERR q=0 an=0"},
		{"a label of 64 bytes", rawQuery(7, 0, one, "\x40"+strings.Repeat("a", 64)+"\x00\x00\x01\x00\x01"), "FORMERR q=0 an=0"},
		{"too many records", rawQuery(7, 0, [4]uint16{1, 0, 0, 3}, question), "FORMERR q=0 an=0"},
		{"answers in the query", rawQuery(7, 0, [4]uint16{1, 2, 0, 0}, question), "FORMERR q=0 an=0"},
		{"an inverse query", rawQuery(7, opcode(1)|rd, one, question), "NOTIMP rd q=0 an=0"},
		{"a status query", rawQuery(7, opcode(2), [4]uint16{}, ""), "NOTIMP q=0 an=0"},
		{"a notify", rawQuery(7, opcode(4), one, question), "NOTIMP q=0 an=0"},
		{"an update", rawQuery(7, opcode(5), one, question), "NOTIMP q=0 an=0"},
		{"an opcode that does not exist", rawQuery(7, opcode(15), one, question), "NOTIMP q=0 an=0"},
		{"class CHAOS", rawQuery(7, rd, one, chaos), "REFUSED rd q=1 an=0"},
		{"class ANY", rawQuery(7, 0, one, anyClass), "REFUSED q=1 an=0"},
		{"the root", rawQuery(7, 0, one, "\x00\x00\x02\x00\x01"), "NOERROR q=1 an=0"},
		{"a name outside", rawQuery(7, 0, one, "\x07example\x03com\x00\x00\x01\x00\x01"), "NXDOMAIN q=1 an=0"},
		{"a name that ends alike", rawQuery(7, 0, one, "\x03xxx\x08acluster\x05local\x00\x00\x01\x00\x01"), "NXDOMAIN q=1 an=0"},
		{"EDNS of a later version (16 is BADVERS as well)", rawQuery(7, 0, [4]uint16{1, 0, 0, 1}, question+"\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"), "BADSIG q=1 an=0"},
	} {
		t.Run(test.about, func(t *testing.T) {
			s := readyServer(t)
			for _, from := range []client{byUDP, byTCP} {
				reply, later := s.respond(test.wire, from, nil)
				if got := describe(t, reply); got != test.want || later != nil {
					t.Errorf("by %s: got %q, want %q", from.proto, got, test.want)
				}
			}
		})
	}
}

// describe sums up a reply to a message with the ID 7.
func describe(t *testing.T, wire []byte) string {
	t.Helper()
	if wire == nil {
		return ""
	}
	var m dns.Msg
	if err := m.Unpack(wire); err != nil {
		t.Fatalf("the reply %x: %v", wire, err)
	}
	if m.Id != 7 || !m.Response {
		t.Errorf("the reply's header: %v", m.MsgHdr)
	}
	rd := ""
	if m.RecursionDesired {
		rd = " rd"
	}
	return fmt.Sprintf("%s%s q=%d an=%d", dns.RcodeToString[m.Rcode], rd, len(m.Question), len(m.Answer))
}

// TestAnswersThatEveryResolverTakes: with no upstream, whatever a Pod asks is answered
// NOERROR or NXDOMAIN, also by the search list. musl's resolver takes nothing else for an
// answer, and waits for its timeout.
func TestAnswersThatEveryResolverTakes(t *testing.T) {
	s := readyServer(t)
	for _, name := range []string{"web", "svc1", "example.com", "local", "cluster.local", "127.0.0.1", "10.0.0.1", "arpa", "x.arpa", "external.testns.svc.cluster.local"} {
		for _, search := range []string{".testns.svc.cluster.local.", ".svc.cluster.local.", ".cluster.local.", "."} {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR} {
				wire, err := new(dns.Msg).SetQuestion(name+search, qtype).Pack()
				if err != nil {
					t.Fatal(err)
				}
				reply, later := s.respond(wire, byUDP, nil)
				var m dns.Msg
				if err := m.Unpack(reply); err != nil || later != nil || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
					t.Errorf("%s%s %s: %v %v", name, search, dns.TypeToString[qtype], err, &m)
				}
				if len(m.Answer) == 0 && len(m.Ns) == 0 {
					t.Errorf("%s%s %s: a negative answer without SOA", name, search, dns.TypeToString[qtype])
				}
			}
		}
	}
}

// TestPanic: what goes wrong with one message stays with it.
func TestPanic(t *testing.T) {
	s := readyServer(t)
	s.index.view = nil
	reply, _ := s.respond(rawQuery(7, 0, [4]uint16{1, 0, 0, 0}, "\x07cluster\x05local\x00\x00\x01\x00\x01"), byUDP, nil)
	if got := describe(t, reply); got != "SERVFAIL q=0 an=0" {
		t.Errorf("a panic became %q", got)
	}
	s.index.view = viewOf(world())
	reply, _ = s.respond(rawQuery(7, 0, [4]uint16{1, 0, 0, 0}, "\x07cluster\x05local\x00\x00\x01\x00\x01"), byUDP, nil)
	if got := describe(t, reply); got != "NOERROR q=1 an=0" {
		t.Errorf("after a panic: %q", got)
	}
}

// FuzzRespond: no message breaks the server, and what it says is a reply to it.
func FuzzRespond(f *testing.F) {
	for _, row := range rows {
		q := row.ask()
		m := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
		if len(q.Name)%2 == 0 {
			m.SetEdns0(uint16(q.Qtype)*100, q.Qtype%2 == 0)
		}
		if wire, err := m.Pack(); err == nil {
			f.Add(wire, false)
		}
	}
	f.Add(rawQuery(1, 0, [4]uint16{1, 0, 0, 0}, "\xc0\x0c\x00\x01\x00\x01"), true)
	s := readyServer(f)
	f.Fuzz(func(t *testing.T, wire []byte, tcp bool) {
		from := byUDP
		if tcp {
			from = byTCP
		}
		from = keeping(from)
		reply, later := s.respond(wire, from, make([]byte, 512))
		if later != nil {
			t.Fatal("an upstream is to be asked, and there is none")
		}
		if again, _ := s.respond(wire, from, make([]byte, 512)); len(again) != len(reply) && reply[2]&0x02 == 0 {
			t.Fatalf("replies of %d and %d bytes to the same query", len(reply), len(again))
		}
		if reply == nil {
			if len(wire) >= headerSize && wire[2]&0x80 == 0 {
				t.Fatal("no reply")
			}
			return
		}
		var m dns.Msg
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("the reply %x: %v", reply, err)
		}
		if m.Id != binary.BigEndian.Uint16(wire) || !m.Response {
			t.Fatalf("the reply's header: %v", m.MsgHdr)
		}
		size := dns.MinMsgSize
		var asked dns.Msg
		if asked.Unpack(wire) == nil && asked.IsEdns0() != nil {
			size = max(size, int(asked.IsEdns0().UDPSize()))
		}
		if !tcp && len(reply) > size {
			t.Fatalf("a reply of %d bytes, where %d are taken", len(reply), size)
		}
		if m.Rcode == dns.RcodeServerFailure {
			t.Fatalf("a failure: %v", &m)
		}
	})
}

// FuzzAnswer: no name breaks the meaning of names.
func FuzzAnswer(f *testing.F) {
	for _, row := range rows {
		q := row.ask()
		f.Add(q.Name, q.Qtype)
	}
	v, r := viewOf(world()), testResolver(podsInsecure)
	f.Fuzz(func(t *testing.T, name string, qtype uint16) {
		if !dns.IsFqdn(name) || len(name) > 255 {
			t.Skip()
		}
		a := r.answer(v, dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET})
		if a.zone != "" && !strings.HasSuffix(name, a.zone) {
			t.Fatalf("the zone %q is not the name's", a.zone)
		}
		if a.zone != "" && a.rcode != dns.RcodeRefused && (len(a.records) == 0) != (a.soa != nil) {
			t.Fatalf("%d records with SOA %v", len(a.records), a.soa)
		}
	})
}

func BenchmarkRespond(b *testing.B) {
	s := readyServer(b)
	for _, question := range []string{
		"svc1.testns.svc.cluster.local. A",
		"svc1.testns.svc.cluster.local. AAAA",
		"nope.testns.svc.cluster.local. A",
		"example.com. A",
		"_http._tcp.hdls1.testns.svc.cluster.local. SRV",
		"1.0.0.10.in-addr.arpa. PTR",
		"big.testns.svc.cluster.local. A",
	} {
		q := row{question: question}.ask()
		m := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
		m.SetEdns0(4096, false)
		wire, err := m.Pack()
		if err != nil {
			b.Fatal(err)
		}
		for about, from := range map[string]client{"made": byUDP, "kept": keeping(byUDP)} {
			b.Run(question+"/"+about, func(b *testing.B) {
				b.ReportAllocs()
				buf := make([]byte, maxQuery)
				for b.Loop() {
					if reply, _ := s.respond(wire, from, buf); reply == nil {
						b.Fatal("no reply")
					}
				}
			})
		}
	}
}
