package dns

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// log is what a server has logged so far.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestReload: each setting comes into force while the server runs, one that is not valid
// changes nothing and is told of.
func TestReload(t *testing.T) {
	said := &log{}
	reloads := make(chan Reload)
	cfg := testConfig(append(world(), pod("podns", "p", "10.244.1.7", ""))...)
	cfg.Log, cfg.Reloads, cfg.Autopath = slog.New(slog.NewTextHandler(said, nil)), reloads, false
	_, address := start(t, cfg)
	outside := upstream(t)
	inForce := cfg

	type question struct{ name, want string }
	for _, step := range []struct {
		about  string
		change func(*Config)
		err    string // that the log says, and then nothing changes
		question
	}{
		{"nothing", func(*Config) {}, "", question{"example.com.", "NXDOMAIN"}},
		{"an upstream", func(c *Config) { c.Upstreams = []string{outside} }, "", question{"example.com.", "NOERROR 192.0.2.1 192.0.2.2"}},
		{"none again: nothing is left of the cache", func(c *Config) { c.Upstreams = nil }, "", question{"example.com.", "NXDOMAIN"}},
		{"a stub domain", func(c *Config) { c.StubDomains = []StubDomain{{"test", []string{outside}}} }, "", question{"ext.interwebs.test.", "NOERROR 192.0.2.1 192.0.2.2"}},
		{"pods insecure", func(c *Config) { c.Pods = podsInsecure }, "", question{"10-9-9-9.podns.pod.cluster.local.", "NOERROR 10.9.9.9"}},
		{"pods verified", func(c *Config) { c.Pods = podsVerified }, "", question{"10-244-1-7.podns.pod.cluster.local.", "NOERROR 10.244.1.7"}},
		{"pods still verified", func(*Config) {}, "", question{"10-9-9-9.podns.pod.cluster.local.", "NXDOMAIN"}},
		{"pods nobody knows", func(c *Config) { c.Pods = "trusted" }, "is none of disabled, insecure, verified", question{"10-244-1-7.podns.pod.cluster.local.", "NOERROR 10.244.1.7"}},
		{"another domain", func(c *Config) { c.Domain = "example" }, "", question{"svc1.testns.svc.example.", "NOERROR 10.0.0.1"}},
		{"an upstream that is no address", func(c *Config) { c.Upstreams = []string{"dns.example"} }, "neither an IP address", question{"svc1.testns.svc.example.", "NOERROR 10.0.0.1"}},
		{"a file that is not there", func(c *Config) { c.Upstreams = []string{"/nonexistent/resolv.conf"} }, "no such file", question{"svc1.testns.svc.example.", "NOERROR 10.0.0.1"}},
		{"a listening address", func(c *Config) { c.Listen = []string{"127.0.0.1:1"} }, "listen cannot change while the server runs", question{"svc1.testns.svc.example.", "NOERROR 10.0.0.1"}},
	} {
		now := inForce
		step.change(&now)
		reloads <- Reload{Config: now}
		if step.err == "" {
			inForce = now
		} else {
			eventually(t, step.about+": the log says "+step.err, func() bool { return strings.Contains(said.String(), step.err) })
		}
		eventually(t, step.about, func() bool { return summary(ask(t, "udp", address, step.name, dns.TypeA)) == step.want })
	}
	reloads <- Reload{Err: errors.New("dns.yaml: unknown key \"upstream\"")}
	eventually(t, "a file that cannot be read is told of", func() bool {
		return strings.Contains(said.String(), "the old one stays in force") && strings.Contains(said.String(), "unknown key")
	})
}

// TestReloadUnderLoad: while one configuration follows the other, every query is answered,
// by the one or the other.
func TestReloadUnderLoad(t *testing.T) {
	cfg := testConfig(world()...)
	cfg.TTL = 7
	s, address := start(t, cfg)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &dns.Client{Net: "udp", Timeout: patience}
			conn, err := client.Dial(address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				reply, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("svc1.testns.svc.cluster.local.", dns.TypeA), conn)
				if err != nil || len(reply.Answer) != 1 || reply.Answer[0].Header().Ttl%7 != 0 {
					t.Errorf("while the configuration changes: %v %v", err, reply)
					return
				}
			}
		})
	}
	for i := range 100 {
		s.reconfigure(t, func(c *Config) { c.TTL = 7 * (1 + i%3) })
	}
	close(stop)
	clients.Wait()
}
