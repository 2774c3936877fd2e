package dns

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// patience bounds waits that end early when all is well.
const patience = 20 * time.Second

// testConfig serves on ports of the kernel's choice.
func testConfig(objects ...runtime.Object) Config {
	cfg := Defaults()
	cfg.Listen = []string{"127.0.0.1:0"}
	cfg.Pods = podsDisabled
	cfg.HealthAddress, cfg.ReadyAddress, cfg.MetricsAddress = "", "", ""
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.clientset = fake.NewClientset(objects...)
	return cfg
}

// run starts a server, which ends with the test, and waits for its sockets only.
func run(t testing.TB, cfg Config) (s *Server, address string) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, s.sockets.tcp[0].Addr().String()
}

// reconfigure has the server use a changed configuration.
func (s *Server) reconfigure(t *testing.T, change func(*Config)) {
	t.Helper()
	cfg := s.settings.Load().cfg
	change(&cfg)
	if err := s.reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// start starts a server and waits until it is ready.
func start(t *testing.T, cfg Config) (s *Server, address string) {
	t.Helper()
	s, address = run(t, cfg)
	await(t, s.Ready())
	return s, address
}

func await(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal("the server did not become ready")
	}
}

// eventually waits for a condition that an event is under way to bring about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

func exchange(t *testing.T, proto, address string, m *dns.Msg) *dns.Msg {
	t.Helper()
	reply, _, err := (&dns.Client{Net: proto, Timeout: patience, UDPSize: dns.MaxMsgSize}).Exchange(m, address)
	if err != nil {
		t.Fatalf("%s %v: %v", proto, m.Question, err)
	}
	return reply
}

func ask(t *testing.T, proto, address, name string, qtype uint16) *dns.Msg {
	t.Helper()
	return exchange(t, proto, address, new(dns.Msg).SetQuestion(name, qtype))
}

// TestAnswersOnTheWire asks the rows of the specification by real queries of a server
// that a client-go clientset feeds.
func TestAnswersOnTheWire(t *testing.T) {
	s, address := start(t, testConfig(world()...))
	s.locals = testResolver("").locals
	s.reconfigure(t, func(*Config) {})
	for _, proto := range []string{"udp", "tcp"} {
		for _, row := range rows {
			t.Run(proto+"/"+row.about, func(t *testing.T) {
				question := row.ask()
				m := new(dns.Msg).SetQuestion(question.Name, question.Qtype)
				m.SetEdns0(dns.MaxMsgSize, false)
				reply := exchange(t, proto, address, m)
				for _, rr := range append(slices.Clone(reply.Answer), reply.Ns...) {
					if soa, ok := rr.(*dns.SOA); ok {
						soa.Serial = 3 // a time, in truth
					}
				}
				word := answer{rcode: reply.Rcode, records: reply.Answer}.word()
				row.checkSections(t, word, reply.Answer, reply.Extra)
				if negative := word == nodata || word == nxdomain; negative != (len(reply.Ns) == 1) {
					t.Errorf("%s with authority section %v", word, reply.Ns)
				} else if negative && text(reply.Ns[0]) != soa && !strings.HasSuffix(question.Name, ".arpa.") {
					t.Errorf("authority section: got %s, want %s", text(reply.Ns[0]), soa)
				}
				if reply.Question[0] != question || reply.Authoritative != (word != refused) || reply.IsEdns0() == nil {
					t.Errorf("header, question or EDNS0 of the reply: %v", reply)
				}
			})
		}
	}
}

// TestBeforeSync: a server that does not know yet must not say that a name is not there.
func TestBeforeSync(t *testing.T) {
	cfg := testConfig(world()...)
	cfg.ReadyAddress = "127.0.0.1:0"
	var reachable atomic.Bool
	cfg.clientset.(*fake.Clientset).PrependReactor("list", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		if reachable.Load() {
			return false, nil, nil
		}
		return true, nil, errors.New("dial tcp 10.96.0.1:443: connect: no route to host")
	})
	s, address := run(t, cfg)
	ready := "http://" + s.sockets.http[0].listener.Addr().String() + "/ready"

	for _, name := range []string{"svc1.testns.svc.cluster.local.", "missing.testns.svc.cluster.local.", "1.0.0.10.in-addr.arpa."} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		m.SetEdns0(1232, false)
		reply := exchange(t, "udp", address, m)
		if reply.Rcode != dns.RcodeServerFailure || len(reply.Answer) != 0 || len(reply.Ns) != 1 {
			t.Errorf("%s before the sync: %v", name, reply)
		}
		if code, _ := explanation(reply); code != dns.ExtendedErrorCodeNotReady {
			t.Errorf("%s: the reply does not say why: %v", name, reply)
		}
	}
	if code, body := get(t, ready); code != http.StatusServiceUnavailable || body != "kubernetes" {
		t.Errorf("/ready before the sync: %d %q", code, body)
	}
	reachable.Store(true)
	await(t, s.Ready())
	if reply := ask(t, "udp", address, "missing.testns.svc.cluster.local.", dns.TypeA); reply.Rcode != dns.RcodeNameError {
		t.Errorf("a missing name after the sync: %v", reply)
	}
	if code, body := get(t, ready); code != http.StatusOK || body != "OK" {
		t.Errorf("/ready after the sync: %d %q", code, body)
	}
}

// explanation is the extended error of a reply.
func explanation(m *dns.Msg) (code uint16, text string) {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				return ede.InfoCode, ede.ExtraText
			}
		}
	}
	return 0, ""
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// TestTruncation: what does not fit comes truncated by UDP, and whole by TCP.
func TestTruncation(t *testing.T) {
	_, address := start(t, testConfig(world()...))
	const name = "big.testns.svc.cluster.local."
	for _, test := range []struct {
		proto     string
		size      uint16 // 0: no EDNS0
		truncated bool
	}{
		{"udp", 0, true}, {"udp", 100, true}, {"udp", 1232, true}, {"udp", 4096, false}, {"tcp", 0, false}, {"tcp", 512, false},
	} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		if test.size > 0 {
			m.SetEdns0(test.size, true)
		}
		reply := exchange(t, test.proto, address, m)
		if reply.Truncated != test.truncated || reply.Truncated == (len(reply.Answer) == 100) || len(reply.Answer) == 0 {
			t.Errorf("%+v: truncated %v with %d addresses", test, reply.Truncated, len(reply.Answer))
		}
		if reply.Compress = true; test.proto == "udp" && reply.Len() > max(int(test.size), dns.MinMsgSize) {
			t.Errorf("%+v: a reply of %d bytes", test, reply.Len())
		}
		opt := reply.IsEdns0()
		if (opt != nil) != (test.size > 0) {
			t.Errorf("%+v: EDNS0 in the reply: %v", test, opt)
		} else if opt != nil && (opt.UDPSize() != test.size || !opt.Do() || opt.Version() != 0) {
			t.Errorf("%+v: OPT record %v", test, opt)
		}
	}
}

// TestShuffle: every address is first some time.
func TestShuffle(t *testing.T) {
	_, address := start(t, testConfig(world()...))
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		want := map[uint16]int{dns.TypeA: 4, dns.TypeAAAA: 2}[qtype]
		first := map[string]bool{}
		eventually(t, "every address came first", func() bool {
			reply := ask(t, "udp", address, "hdls1.testns.svc.cluster.local.", qtype)
			first[reply.Answer[0].String()] = true
			return len(first) == want
		})
	}
}

// TestBurst: of many queries at once, some of which are none, each has its own reply.
func TestBurst(t *testing.T) {
	_, address := start(t, testConfig(world()...))
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for round := range 3 {
		for id := range uint16(100) {
			wire := packed(t, []string{"svc1.testns.svc.cluster.local. A", "nope.testns.svc.cluster.local. A", "hdls1.testns.svc.cluster.local. SRV"}[id%3], id)
			if id%10 == 9 {
				wire = wire[:headerSize+5] // FORMERR
			}
			if _, err := conn.Write(wire); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		seen, buf := map[uint16]bool{}, make([]byte, maxQuery)
		for range 100 {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("round %d: %d replies: %v", round, len(seen), err)
			}
			m := unpacked(t, buf[:n])
			want := []int{dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeSuccess}[m.Id%3]
			if m.Id%10 == 9 {
				want = dns.RcodeFormatError
			}
			if seen[m.Id] || m.Rcode != want {
				t.Errorf("round %d: reply %d (again: %v) has %s", round, m.Id, seen[m.Id], dns.RcodeToString[m.Rcode])
			}
			seen[m.Id] = true
		}
	}
}

// TestWildcardSource: a server on all addresses replies from the one that was asked.
func TestWildcardSource(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		cfg := testConfig(world()...)
		cfg.Listen = []string{listen}
		s, _ := start(t, cfg)
		_, port, _ := net.SplitHostPort(s.sockets.tcp[0].Addr().String())
		for _, local := range []string{"127.0.0.1", "127.1.2.3"} {
			// A connected socket, as a resolver's: replies from elsewhere do not arrive.
			reply := ask(t, "udp", net.JoinHostPort(local, port), "svc1.testns.svc.cluster.local.", dns.TypeA)
			if len(reply.Answer) != 1 {
				t.Errorf("listening on %s, asked at %s: %v", listen, local, reply)
			}
		}
	}
}

// TestRunErrors: what Run cannot do it says, and leaves nothing open.
func TestRunErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for what, change := range map[string]func(*Config){
		"DNS by TCP": func(c *Config) { c.Listen = []string{"127.0.0.1:0", taken.Addr().String()} },
		"/metrics":   func(c *Config) { c.MetricsAddress = taken.Addr().String() },
	} {
		cfg := testConfig()
		change(&cfg)
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "listen for "+what) {
			t.Errorf("%s on a taken address: %v", what, err)
		}
		again, err := net.Listen("tcp", s.sockets.tcp[0].Addr().String())
		if err != nil {
			t.Errorf("%s: the first socket is still open: %v", what, err)
			continue
		}
		_ = again.Close()
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"no client":              func(c *Config) { c.clientset = nil },
		"no address":             func(c *Config) { c.Listen = nil },
		`listen: "localhost:53"`: func(c *Config) { c.Listen = []string{"localhost:53"} },
		`listen: "53"`:           func(c *Config) { c.Listen = []string{"53"} },
		`domain or reverse`:      func(c *Config) { c.Domain = "." },
		"ttl: -1":                func(c *Config) { c.TTL = -1 },
		"ttl: 3601":              func(c *Config) { c.TTL = 3601 },
		`pods: "on"`:             func(c *Config) { c.Pods = "on" },
		`upstreams: "dns.test"`:  func(c *Config) { c.Upstreams = []string{"dns.test"} },
	} {
		cfg := testConfig()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	cfg := testConfig()
	cfg.Listen, cfg.Upstreams = []string{":53", "[::1]:53", "10.96.0.10:53"}, []string{"192.0.2.1", "192.0.2.1:5353", "2001:db8::1"}
	if _, err := New(cfg); err != nil {
		t.Error(err)
	}
}
