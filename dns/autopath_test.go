package dns

import (
	"testing"

	"github.com/miekg/dns"
)

// TestSearchedNames: what is taken for the first name of a search list.
func TestSearchedNames(t *testing.T) {
	r, v := testResolver(podsDisabled), viewOf(world())
	for name, want := range map[string]string{
		"example.com.testns.svc.cluster.local.":                  "example.com",
		"Example.COM.TestNS.svc.cluster.local.":                  "Example.COM",
		"a.b.c.d.e.testns.svc.cluster.local.":                    "a.b.c.d.e",
		"svc1.testns.podns.svc.cluster.local.":                   "svc1.testns",
		"single.testns.svc.cluster.local.":                       "", // of one label
		"testns.svc.cluster.local.":                              "",
		"example.com.missing.svc.cluster.local.":                 "", // no such Namespace, so no Pod in it
		"example.com.svc.cluster.local.":                         "", // the second of the list
		"example.com.cluster.local.":                             "",
		"example.com.":                                           "",
		"cluster.local.":                                         "",
		"gone.hdls1.testns.svc.cluster.local.":                   "", // below a Service
		"_nope._tcp.svc1.testns.svc.cluster.local.":              "",
		"example.com.testns.pod.cluster.local.":                  "",
		`exa\.mple.testns.svc.cluster.local.`:                    "",
		"svc1.testns.svc.cluster.local.podns.svc.cluster.local.": "svc1.testns.svc.cluster.local",
	} {
		if got := r.searched(v, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestAutopath: a search list costs one question, whatever is at its end.
func TestAutopath(t *testing.T) {
	const list = ".podns.svc.cluster.local." // of the Pod that asks
	cfg := testConfig(world()...)
	cfg.Upstreams = []string{upstream(t)}
	s, address := start(t, cfg)
	for _, row := range []struct {
		about, name string
		qtype       uint16
		want        string
	}{
		{"outside", "example.com", dns.TypeA, "NOERROR 192.0.2.1 192.0.2.2 example.com."},
		{"outside, without such a record", "example.com", dns.TypeAAAA, "NOERROR example.com."},
		{"outside, too large", "large.test", dns.TypeA, "NOERROR truncated large.test."},
		{"nowhere", "nowhere.test", dns.TypeA, "NXDOMAIN"},
		{"outside, and the upstream errs", "other.test", dns.TypeA, "NXDOMAIN"},
		{"in another Namespace", "svc1.testns", dns.TypeA, "NOERROR 10.0.0.1 svc1.testns.svc.cluster.local."},
		{"in another Namespace, without such a record", "svc1.testns", dns.TypeAAAA, "NOERROR svc1.testns.svc.cluster.local."},
		{"under the cluster's domain", "svc1.testns.svc", dns.TypeA, "NOERROR 10.0.0.1 svc1.testns.svc.cluster.local."},
		{"a full name without the last dot", "svc1.testns.svc.cluster.local", dns.TypeA, "NOERROR 10.0.0.1 svc1.testns.svc.cluster.local."},
		{"the same of none", "svc0.testns.svc.cluster.local", dns.TypeA, "NXDOMAIN"},
		{"an ExternalName", "external.testns", dns.TypeA, "NOERROR 192.0.2.1 192.0.2.2 ext.interwebs.test. external.testns.svc.cluster.local."},
		{"a headless Service without endpoints", "noneready.testns", dns.TypeA, "NXDOMAIN"},
		{"of another type", "example.com", dns.TypeMX, "NOERROR example.com."},
		{"its own Namespace comes first", "svc1", dns.TypeA, "NXDOMAIN"},
	} {
		t.Run(row.about, func(t *testing.T) {
			for range 2 { // the second from the cache
				reply := ask(t, "udp", address, row.name+list, row.qtype)
				if got := summary(reply); got != row.want {
					t.Errorf("got %q, want %q", got, row.want)
				}
				for _, rr := range append(reply.Answer[:min(1, len(reply.Answer))], reply.Ns...) {
					if rr.Header().Ttl > uint32(cfg.TTL) {
						t.Errorf("it lasts longer than the cluster's word: %v", rr)
					}
				}
				if len(reply.Answer) > 0 && reply.Answer[0].Header().Name != row.name+list {
					t.Errorf("no record of the name that was asked for: %v", reply)
				}
				if reply.Rcode == dns.RcodeNameError && len(reply.Ns) != 1 {
					t.Errorf("a denial without SOA: %v", reply)
				}
			}
		})
	}
	s.reconfigure(t, func(c *Config) { c.Autopath = false })
	if got := summary(ask(t, "udp", address, "example.com"+list, dns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("turned off: %s", got)
	}
}

// TestAutopathIsTheQuestions: the answer depends on the question and on nothing else, so a
// Pod that has inherited another's address is not answered in the other's place.
func TestAutopathIsTheQuestions(t *testing.T) {
	s := readyServer(t)
	for _, from := range []client{byUDP, byTCP} {
		for name, want := range map[string]string{
			"svc1.testns.podns.svc.cluster.local.":  "NOERROR 10.0.0.1 svc1.testns.svc.cluster.local.",
			"svc1.testns.testns.svc.cluster.local.": "NOERROR 10.0.0.1 svc1.testns.svc.cluster.local.",
		} {
			wire, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
			if err != nil {
				t.Fatal(err)
			}
			reply, _ := s.respond(wire, from, nil)
			if got := summary(unpacked(t, reply)); got != want {
				t.Errorf("%s from %v: %s", name, from.addr, got)
			}
		}
	}
}

// TestCreatedLater: what was found outside gives way to a Service of the name at once.
func TestCreatedLater(t *testing.T) {
	cfg := testConfig(world()...)
	cfg.Upstreams = []string{upstream(t)}
	s, address := start(t, cfg)
	const name = "example.com.testns.svc.cluster.local."
	if got := summary(ask(t, "udp", address, name, dns.TypeA)); got != "NOERROR 192.0.2.1 192.0.2.2 example.com." {
		t.Fatalf("outside: %s", got)
	}
	s.index.change(func(v *view) {
		v.setService(key{"testns", "com"}, nil, compactService(svc("testns", "com", "None")))
		v.setSlice(key{"testns", "com-1"}, nil, compactSlice(epSlice("testns/com", "com-1", "http/TCP/80", "172.0.0.9 example")))
	})
	if got := summary(ask(t, "udp", address, name, dns.TypeA)); got != "NOERROR 172.0.0.9" {
		t.Errorf("in the cluster: %s", got)
	}
}
