package dns

import (
	"fmt"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// keeping is a client like another, whose replies are kept.
func keeping(c client) client {
	c.replies = &replies{}
	return c
}

func packed(t testing.TB, question string, id uint16) []byte {
	t.Helper()
	q := row{question: question}.ask()
	m := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
	m.Id = id
	m.SetEdns0(4096, false)
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func unpacked(t testing.TB, wire []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestKeptReplies: a reply that was kept is the one that would be made anew, for every
// row of the specification.
func TestKeptReplies(t *testing.T) {
	s := readyServer(t)
	for _, row := range rows {
		from := keeping(byUDP)
		respond := func(id uint16) *dns.Msg {
			reply, later := s.respond(packed(t, row.question, id), from, make([]byte, maxQuery))
			if later != nil {
				t.Fatalf("%s: an upstream is to be asked", row.question)
			}
			return unpacked(t, reply)
		}
		first, second := respond(1), respond(2)
		if first.Id != 1 || second.Id != 2 {
			t.Errorf("%s: identifiers %d and %d", row.question, first.Id, second.Id)
		}
		first.Id = second.Id
		for _, m := range []*dns.Msg{first, second} {
			slices.SortFunc(m.Answer, byText)
			slices.SortFunc(m.Extra, byText)
		}
		if first.String() != second.String() {
			t.Errorf("%s: made %s\nkept %s", row.question, first, second)
		}
	}
}

func byText(a, b dns.RR) int { return slices.Compare([]byte(a.String()), []byte(b.String())) }

// TestWhatIsKept: plain answers are; what differs each time, and what may be otherwise
// without a change in the cluster, is not.
func TestWhatIsKept(t *testing.T) {
	s := readyServer(t)
	for _, test := range []struct {
		question string
		kept     bool
	}{
		{"svc1.testns.svc.cluster.local. A", true},
		{"SVC1.testns.svc.cluster.local. A", true},
		{"nope.testns.svc.cluster.local. A", true},
		{"hdls1.testns.svc.cluster.local. A", true},
		{"hdls1.testns.svc.cluster.local. AAAA", true},
		{"_http._tcp.svc1.testns.svc.cluster.local. SRV", true},
		{"external-to-service.testns.svc.cluster.local. A", true},
		{"_http._tcp.hdls1.testns.svc.cluster.local. SRV", false}, // several addresses as glue
		{"svc1.testns.svc.cluster.local. AXFR", false},
		{"example.com. A", false},
	} {
		from := keeping(byUDP)
		s.respond(packed(t, test.question, 1), from, make([]byte, maxQuery))
		if got := len(from.replies.byQuery) == 1; got != test.kept {
			t.Errorf("%s: kept %v, want %v", test.question, got, test.kept)
		}
	}

	from := keeping(byUDP)
	withCookie := unpacked(t, packed(t, "svc1.testns.svc.cluster.local. A", 1))
	withCookie.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
	wire, err := withCookie.Pack()
	if err != nil {
		t.Fatal(err)
	}
	s.respond(wire, from, make([]byte, maxQuery))
	truncated, err := new(dns.Msg).SetQuestion("big.testns.svc.cluster.local.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	s.respond(truncated, from, make([]byte, maxQuery))
	s.ready = make(chan struct{})
	s.respond(packed(t, "svc1.testns.svc.cluster.local. A", 1), from, make([]byte, maxQuery))
	if n := len(from.replies.byQuery); n != 0 {
		t.Errorf("%d replies kept with a cookie, truncated, or before the sync", n)
	}
}

// TestKeptUntilChange: after a change in the cluster nothing is told that was kept before.
func TestKeptUntilChange(t *testing.T) {
	s, from := readyServer(t), keeping(byUDP)
	ask := func() string {
		reply, _ := s.respond(packed(t, "new.testns.svc.cluster.local. A", 7), from, make([]byte, maxQuery))
		return summary(unpacked(t, reply))
	}
	set := func(ip string) {
		now := compactService(svc("testns", "new", ip, "http/TCP/80"))
		s.index.change(func(v *view) { v.setService(now.key, v.services[now.key], now) })
	}
	for _, step := range []struct{ ip, want string }{
		{"", "NXDOMAIN"}, {"", "NXDOMAIN"}, {"10.0.0.77", "NOERROR 10.0.0.77"}, {"", "NOERROR 10.0.0.77"}, {"10.0.0.78", "NOERROR 10.0.0.78"},
	} {
		if step.ip != "" {
			set(step.ip)
		}
		if got := ask(); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
}

// TestKeptAddressesAreShuffled: each of a headless Service's addresses comes first at times.
func TestKeptAddressesAreShuffled(t *testing.T) {
	s, from := readyServer(t), keeping(byUDP)
	query := packed(t, "hdls1.testns.svc.cluster.local. A", 7)
	first := map[string]int{}
	for range 400 {
		reply, _ := s.respond(query, from, make([]byte, maxQuery))
		first[unpacked(t, reply).Answer[0].(*dns.A).A.String()]++
	}
	if len(first) != 4 {
		t.Errorf("of four addresses these came first: %v", first)
	}
}

// TestKeptRepliesAreBounded: who asks for ever new names does not fill our memory.
func TestKeptRepliesAreBounded(t *testing.T) {
	s, from := readyServer(t), keeping(byUDP)
	buf := make([]byte, maxQuery)
	for i := range 20000 {
		s.respond(packed(t, fmt.Sprintf("random-%d.testns.svc.cluster.local. A", i), 7), from, buf)
		if from.replies.size > maxReplies {
			t.Fatalf("%d bytes are kept", from.replies.size)
		}
	}
	if n := len(from.replies.byQuery); n == 0 || n == 20000 {
		t.Errorf("%d replies are kept", n)
	}
}
