package dns

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"orrery.example.org/dns/forward"
)

// upstream runs a resolver that knows the world outside, and closes with the test.
func upstream(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{Listener: listener}, {PacketConn: conn}} {
		server.Handler = dns.HandlerFunc(answerOutside)
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- server.ActivateAndServe() }()
		await(t, started)
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	return listener.Addr().String()
}

func answerOutside(w dns.ResponseWriter, query *dns.Msg) {
	m := new(dns.Msg).SetReply(query)
	m.RecursionAvailable = true
	m.SetEdns0(1232, false) // also where the client did not
	_, isTCP := w.RemoteAddr().(*net.TCPAddr)
	switch name := query.Question[0].Name; name {
	case "example.com.", "ext.interwebs.test.":
		if query.Question[0].Qtype != dns.TypeA {
			m.Ns = []dns.RR{&dns.SOA{Hdr: header("test.", dns.TypeSOA, 86400), Ns: "ns.test.", Mbox: "host.test.", Minttl: 86400}}
			break
		}
		for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
			m.Answer = append(m.Answer, &dns.A{Hdr: header(name, dns.TypeA, 60), A: net.ParseIP(ip)})
		}
	case "large.test.":
		if m.Truncated = !isTCP; isTCP {
			m.Answer = append(m.Answer, &dns.A{Hdr: header(name, dns.TypeA, 60), A: net.ParseIP("192.0.2.3")})
		}
	case "other.test.":
		m.Question[0].Name = "spoofed.test."
	case "9.2.0.192.in-addr.arpa.":
		m.Answer = append(m.Answer, &dns.PTR{Hdr: header(name, dns.TypePTR, 60), Ptr: "nine.test."})
	default:
		m.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(m)
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

func TestForward(t *testing.T) {
	cfg := testConfig(append(world(), external("testns", "large", "large.test"))...)
	cfg.Upstreams = []string{closedPort(t), upstream(t)}
	_, address := start(t, cfg)
	for _, test := range []struct {
		about, name string
		qtype       uint16
		udp, tcp    string
	}{
		{"a name outside", "example.com.", dns.TypeA, "NOERROR 192.0.2.1 192.0.2.2", "NOERROR 192.0.2.1 192.0.2.2"},
		{"a name that is nowhere", "nowhere.test.", dns.TypeA, "NXDOMAIN", "NXDOMAIN"},
		{"an ExternalName", "external.testns.svc.cluster.local.", dns.TypeA, "NOERROR 192.0.2.1 192.0.2.2 ext.interwebs.test.", "NOERROR 192.0.2.1 192.0.2.2 ext.interwebs.test."},
		{"a large answer", "large.test.", dns.TypeA, "NOERROR truncated", "NOERROR 192.0.2.3"},
		{"an ExternalName with a large answer", "large.testns.svc.cluster.local.", dns.TypeA, "NOERROR 192.0.2.3 large.test.", "NOERROR 192.0.2.3 large.test."}, // TCP had it all
		{"an address outside", "9.2.0.192.in-addr.arpa.", dns.TypePTR, "NOERROR nine.test.", "NOERROR nine.test."},
		{"an address inside", "1.0.0.10.in-addr.arpa.", dns.TypePTR, "NOERROR svc1.testns.svc.cluster.local.", "NOERROR svc1.testns.svc.cluster.local."},
		{"a missing name inside", "svc0.testns.svc.cluster.local.", dns.TypeA, "NXDOMAIN", "NXDOMAIN"},
		{"a reply to another question", "other.test.", dns.TypeA, "SERVFAIL", "SERVFAIL"},
	} {
		t.Run(test.about, func(t *testing.T) {
			for i, want := range []string{test.udp, test.tcp} {
				proto := []string{"udp", "tcp"}[i]
				reply := ask(t, proto, address, test.name, test.qtype)
				if got := summary(reply); got != want {
					t.Errorf("by %s: got %q, want %q", proto, got, want)
				}
				if reply.IsEdns0() != nil {
					t.Errorf("by %s: EDNS0 for a client that did not speak it", proto)
				}
			}
		})
	}
}

// summary is the response code, and what the records say, sorted.
func summary(m *dns.Msg) string {
	var words []string
	for _, rr := range m.Answer {
		words = append(words, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(words)
	if m.Truncated {
		words = append([]string{"truncated"}, words...)
	}
	return strings.Join(append([]string{dns.RcodeToString[m.Rcode]}, words...), " ")
}

// TestUpstreamsGone: an error says so, and a CNAME stays true.
func TestUpstreamsGone(t *testing.T) {
	cfg := testConfig(world()...)
	cfg.Upstreams = []string{closedPort(t)}
	_, address := start(t, cfg)
	m := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	m.SetEdns0(1232, false)
	reply := exchange(t, "udp", address, m)
	if code, _ := explanation(reply); reply.Rcode != dns.RcodeServerFailure || code != dns.ExtendedErrorCodeNetworkError {
		t.Errorf("a name outside: %v", reply)
	}
	reply = ask(t, "udp", address, "external.testns.svc.cluster.local.", dns.TypeA)
	if got := summary(reply); got != "NOERROR ext.interwebs.test." {
		t.Errorf("an ExternalName: %q", got)
	}
}

// TestSlowUpstream: who waits for an upstream does not keep others waiting, and the end
// of the server ends the waiting.
func TestSlowUpstream(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := testConfig(world()...)
	cfg.Upstreams = []string{silent.LocalAddr().String()}
	_, address := start(t, cfg)
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wire, err := new(dns.Msg).SetQuestion("example.com.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := conn.Write(wire); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := silent.ReadFrom(make([]byte, maxQuery)); err != nil { // they are under way
		t.Fatal(err)
	}
	if reply := ask(t, "udp", address, "svc1.testns.svc.cluster.local.", dns.TypeA); len(reply.Answer) != 1 {
		t.Errorf("a name inside: %v", reply)
	}
}

// TestUpstreamIsItself: a server that is its own upstream, by whatever way, finds out and
// says at once that it cannot know.
func TestUpstreamIsItself(t *testing.T) {
	relay, err := net.ListenPacket("udp", "127.0.0.1:0") // as systemd-resolved would be, on the way back to us
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	cfg := testConfig(world()...)
	cfg.Upstreams = []string{relay.LocalAddr().String()}
	s, address := start(t, cfg)
	var queries sync.WaitGroup
	defer queries.Wait()
	go func() {
		for {
			buf := make([]byte, maxQuery)
			n, client, err := relay.ReadFrom(buf)
			if err != nil {
				return
			}
			queries.Go(func() {
				m := new(dns.Msg)
				if m.Unpack(buf[:n]) == nil {
					if reply, _, err := (&dns.Client{Timeout: patience}).Exchange(m, address); err == nil {
						wire, _ := reply.Pack()
						_, _ = relay.WriteTo(wire, client)
					}
				}
			})
		}
	}()
	m := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	m.SetEdns0(1232, false)
	eventually(t, "the loop is seen", func() bool {
		_, err := s.settings.Load().forwarder.Exchange(t.Context(), "udp", m)
		return errors.Is(err, forward.ErrNone)
	})
	reply := exchange(t, "udp", address, m)
	if code, _ := explanation(reply); reply.Rcode != dns.RcodeServerFailure || code != dns.ExtendedErrorCodeNetworkError {
		t.Errorf("a name outside: %v", reply)
	}
	if reply := ask(t, "udp", address, "svc1.testns.svc.cluster.local.", dns.TypeA); len(reply.Answer) != 1 {
		t.Errorf("a name inside: %v", reply)
	}
}

// TestResolvConf: the upstreams are those of the machine, without those that could be us.
func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(world()...)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.upstreams([]string{file, "192.0.2.54"})
	if want := []string{"192.0.2.53:53", "192.0.2.54:53"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	s.locals = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	if got, err := s.upstreams([]string{file}); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
