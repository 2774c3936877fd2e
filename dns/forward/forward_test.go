package forward

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// patience bounds waits that end early when all is well.
const patience = 30 * time.Second

// resolver is an upstream whose mood can be changed.
type resolver struct {
	address string
	mute    atomic.Bool // it hears, and says nothing
	asked   atomic.Int64
	answer  func(*dns.Msg) *dns.Msg
}

func startResolver(t *testing.T, answer func(*dns.Msg) *dns.Msg) *resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{address: conn.LocalAddr().String(), answer: answer}
	server := &dns.Server{PacketConn: conn, Handler: r}
	started, done := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return r
}

func (r *resolver) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	r.asked.Add(1)
	if !r.mute.Load() {
		_ = w.WriteMsg(r.answer(query))
	}
}

// says answers everything with one address.
func says(ip string) func(*dns.Msg) *dns.Msg {
	return func(query *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(query)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(ip)}}
		return m
	}
}

func newForwarder(routes ...Route) *Forwarder {
	return New(nil, routes, NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
}

func get(t *testing.T, f *Forwarder, name string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reply, err := f.Exchange(ctx, "udp", new(dns.Msg).SetQuestion(name, dns.TypeA))
	if err != nil {
		return "", err
	}
	return reply.Answer[0].(*dns.A).A.String(), nil
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// runForwarder watches over the upstreams until the test ends.
func runForwarder(t *testing.T, f *Forwarder) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestRoutes: a name goes to the upstreams of the longest zone that it is in.
func TestRoutes(t *testing.T) {
	world, corp, lab := startResolver(t, says("192.0.2.1")), startResolver(t, says("192.0.2.2")), startResolver(t, says("192.0.2.3"))
	f := newForwarder(Route{".", []string{world.address}}, Route{"Corp.example", []string{corp.address}},
		Route{"lab.corp.example.", []string{lab.address}}, Route{"empty.example", nil})
	for name, want := range map[string]string{
		"example.org.": "192.0.2.1", "corp.example.": "192.0.2.2", "a.CORP.example.": "192.0.2.2",
		"notcorp.example.": "192.0.2.1", "a.b.lab.corp.example.": "192.0.2.3", "empty.example.": "192.0.2.1",
	} {
		if got, err := get(t, f, name); got != want {
			t.Errorf("%s: %s %v, want %s", name, got, err, want)
		}
	}
	none := newForwarder(Route{"corp.example", []string{corp.address}})
	if zone := none.Zone("example.org."); zone != "" {
		t.Errorf("example.org is in %s", zone)
	}
	if _, err := get(t, none, "example.org."); err == nil {
		t.Error("a name without upstreams has a reply")
	}
}

// TestHealth: one that does not reply is passed over, asked by nobody but the probe, and
// used again when it is back.
func TestHealth(t *testing.T) {
	r := startResolver(t, says("192.0.2.1"))
	f := newForwarder(Route{".", []string{r.address}})
	runForwarder(t, f)
	eventually(t, "the first probe has been replied to", func() bool { return r.asked.Load() == 1 })
	u := f.upstreams[0]
	r.mute.Store(true)
	for range maxFails + 1 {
		u.failed() // as if as many queries had waited in vain
	}
	if _, err := get(t, f, "example.org."); !errors.Is(err, ErrNone) {
		t.Errorf("with no healthy upstream: %v", err)
	}
	before := r.asked.Load()
	eventually(t, "it is probed", func() bool { return r.asked.Load() > before })
	if !u.down() {
		t.Error("it is up without having replied")
	}
	r.mute.Store(false)
	eventually(t, "it is back", func() bool { got, _ := get(t, f, "example.org."); return got == "192.0.2.1" })
}

// TestFailover: while one fails, the other replies.
func TestFailover(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := conn.LocalAddr().String()
	_ = conn.Close()
	f := newForwarder(Route{".", []string{dead, startResolver(t, says("192.0.2.1")).address}})
	for range 50 {
		if got, err := get(t, f, "example.org."); got != "192.0.2.1" {
			t.Fatalf("%s %v", got, err)
		}
	}
	if !f.upstreams[0].down() {
		t.Error("fifty queries, and the dead one is not down")
	}
}

// TestLoop: an upstream that asks us what we ask it is found out and left out, and is
// used when it no longer does.
func TestLoop(t *testing.T) {
	var us atomic.Pointer[Forwarder]
	var loops atomic.Bool
	loops.Store(true)
	r := startResolver(t, func(query *dns.Msg) *dns.Msg {
		if loops.Load() && us.Load().SeesItself(query.Question[0]) { // it asked us
			return new(dns.Msg).SetRcode(query, dns.RcodeRefused)
		}
		return says("192.0.2.1")(query)
	})
	honest := startResolver(t, says("192.0.2.2"))
	f := newForwarder(Route{".", []string{r.address, honest.address}}, Route{"only.example.", []string{r.address}})
	us.Store(f)
	runForwarder(t, f)
	eventually(t, "the loop is seen", func() bool { return f.upstreams[0].loops.Load() })
	for range 20 {
		if got, err := get(t, f, "example.org."); got != "192.0.2.2" {
			t.Fatalf("%s %v", got, err)
		}
	}
	if _, err := get(t, f, "a.only.example."); !errors.Is(err, ErrNone) {
		t.Errorf("a name whose only upstream is ourselves: %v", err)
	}
	if f.SeesItself(dns.Question{Name: "example.org.", Qtype: dns.TypeHINFO}) || f.SeesItself(dns.Question{Name: f.upstreams[0].probeName, Qtype: dns.TypeA}) {
		t.Error("an ordinary question was taken for a probe")
	}
	loops.Store(false)
	f.upstreams[0].probe(t.Context())
	if f.upstreams[0].down() {
		t.Error("it is left out, though it leads elsewhere now")
	}
}

// TestWhatIsAsked: upstreams hear nothing of the client but its question.
func TestWhatIsAsked(t *testing.T) {
	asked := make(chan *dns.Msg, 1)
	r := startResolver(t, func(query *dns.Msg) *dns.Msg {
		asked <- query
		return new(dns.Msg).SetReply(query)
	})
	f := newForwarder(Route{".", []string{r.address}})
	query := new(dns.Msg).SetQuestion("ExAmple.org.", dns.TypeMX)
	query.Id, query.CheckingDisabled = 7, true
	query.SetEdns0(4096, true)
	query.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}}
	if _, err := f.Exchange(t.Context(), "udp", query); err != nil {
		t.Fatal(err)
	}
	got := <-asked
	opt := got.IsEdns0()
	if got.Question[0] != query.Question[0] || !got.RecursionDesired || !got.CheckingDisabled || opt == nil || !opt.Do() || len(opt.Option) != 0 || opt.UDPSize() != askedSize {
		t.Errorf("it was asked %v", got)
	}
	if query.Id != 7 {
		t.Error("the client's query was changed")
	}
}

func TestParseResolvConf(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	for _, row := range []struct {
		about, text string
		want        []string
		skipped     []string
	}{
		{"nothing", "", nil, nil},
		{"one", "search a b\nnameserver 192.0.2.1\noptions ndots:5\n", []string{"192.0.2.1:53"}, nil},
		{"IPv6, a zone, tabs and no newline", "nameserver\t2001:db8::1\nnameserver fe80::1%eth0", []string{"[2001:db8::1]:53", "[fe80::1%eth0]:53"}, nil},
		{"comments", "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nnameserver 192.0.2.3 # third\n", []string{"192.0.2.3:53"}, nil},
		{"systemd-resolved", "nameserver 127.0.0.53\n", nil, []string{"127.0.0.53"}},
		{"every loopback", "nameserver 127.0.1.1\nnameserver ::1\nnameserver ::ffff:127.0.0.1\nnameserver 0.0.0.0\n", nil, []string{"127.0.1.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"}},
		{"ourselves", "nameserver 10.96.0.10\nnameserver 192.0.2.1\n", []string{"192.0.2.1:53"}, []string{"10.96.0.10"}},
		{"what is no address", "nameserver dns.example\nnameserver\n", nil, []string{"dns.example"}},
	} {
		got, skipped := ParseResolvConf(row.text, own)
		if !slices.Equal(got, row.want) || !slices.Equal(skipped, row.skipped) {
			t.Errorf("%s: %v, skipped %v", row.about, got, skipped)
		}
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nsearch x\n")
	f.Add("nameserver 127.0.0.53")
	f.Fuzz(func(t *testing.T, text string) {
		upstreams, _ := ParseResolvConf(text, nil)
		for _, u := range upstreams {
			addr, err := netip.ParseAddrPort(u)
			if err != nil || addr.Addr().Unmap().IsLoopback() || addr.Port() != 53 {
				t.Errorf("%q of %q", u, text)
			}
		}
	})
}
