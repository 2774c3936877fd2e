package cache

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

var limits = Limits{Positive: 30 * time.Second, Negative: 10 * time.Second, Bytes: 1 << 16}

func newCache(t testing.TB, limits Limits) *Cache {
	t.Helper()
	return New(limits, NewMetrics(prometheus.NewRegistry(), nil))
}

func query(name string) *dns.Msg { return new(dns.Msg).SetQuestion(name, dns.TypeA) }

// reply answers a query with records in zone-file form; one of SOA goes into authority.
func reply(t testing.TB, query *dns.Msg, rcode int, records ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetRcode(query, rcode)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

// TestLifetimes: how long which reply is kept.
func TestLifetimes(t *testing.T) {
	const soa = "test. 60 IN SOA ns.test. host.test. 1 2 3 4 %d"
	for _, row := range []struct {
		about   string
		rcode   int
		records []string
		change  func(*dns.Msg)
		want    time.Duration
	}{
		{"an address", 0, []string{"a.test. 20 A 192.0.2.1"}, nil, 20 * time.Second},
		{"the shortest of two", 0, []string{"a.test. 20 CNAME b.test.", "b.test. 7 A 192.0.2.1"}, nil, 7 * time.Second},
		{"not for longer than the limit", 0, []string{"a.test. 86400 A 192.0.2.1"}, nil, 30 * time.Second},
		{"a lifetime of nothing", 0, []string{"a.test. 0 A 192.0.2.1"}, nil, 0},
		{"no such name", 3, []string{fmt.Sprintf(soa, 6)}, nil, 6 * time.Second},
		{"no such record", 0, []string{fmt.Sprintf(soa, 6)}, nil, 6 * time.Second},
		{"a denial not for longer than its limit", 3, []string{fmt.Sprintf(soa, 86400)}, nil, 10 * time.Second},
		{"a denial that does not say how long", 3, nil, nil, 5 * time.Second},
		{"a CNAME to a name that is not there", 3, []string{"a.test. 3 CNAME b.test.", fmt.Sprintf(soa, 60)}, nil, 3 * time.Second},
		{"a failure", 2, nil, nil, 0},
		{"a refusal", 5, nil, nil, 0},
		{"half a reply", 0, []string{"a.test. 20 A 192.0.2.1"}, func(m *dns.Msg) { m.Truncated = true }, 0},
		{"OPT has no lifetime", 0, []string{"a.test. 20 A 192.0.2.1"}, func(m *dns.Msg) { m.SetEdns0(1232, false) }, 20 * time.Second},
	} {
		t.Run(row.about, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, q := newCache(t, limits), query("a.test.")
				m := reply(t, q, row.rcode, row.records...)
				if row.change != nil {
					row.change(m)
				}
				c.Put(q, m)
				if row.want == 0 {
					if c.Get(q) != nil {
						t.Fatal("it was kept")
					}
					return
				}
				for _, rr := range records(m) {
					if got := seconds(rr.Header().Ttl); got != row.want {
						t.Errorf("who asked first may keep %v for %v", rr, got)
					}
				}
				time.Sleep(row.want - time.Second)
				kept := c.Get(q)
				if kept == nil || kept.Rcode != row.rcode || len(kept.Answer) != len(m.Answer) {
					t.Fatalf("a second before its time is up: %v", kept)
				}
				for _, rr := range records(kept) {
					if rr.Header().Ttl != 1 {
						t.Errorf("a second before its time is up: %v", rr)
					}
				}
				time.Sleep(time.Second)
				if kept := c.Get(q); kept != nil {
					t.Errorf("after its time: %v", kept)
				}
			})
		})
	}
}

// TestKeys: which queries ask for the same.
func TestKeys(t *testing.T) {
	c := newCache(t, limits)
	first := query("Www.Test.")
	c.Put(first, reply(t, first, 0, "Www.Test. 20 A 192.0.2.1"))
	for _, row := range []struct {
		about  string
		change func(*dns.Msg)
		want   bool
	}{
		{"another case", func(m *dns.Msg) { m.Question[0].Name = "wWW.test." }, true},
		{"with EDNS", func(m *dns.Msg) { m.SetEdns0(512, false) }, true},
		{"another type", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, false},
		{"another name", func(m *dns.Msg) { m.Question[0].Name = "test." }, false},
		{"with DNSSEC", func(m *dns.Msg) { m.SetEdns0(512, true) }, false},
		{"unchecked", func(m *dns.Msg) { m.CheckingDisabled = true }, false},
		{"without recursion", func(m *dns.Msg) { m.RecursionDesired = false }, false},
	} {
		q := query("www.test.")
		row.change(q)
		if got := c.Get(q) != nil; got != row.want {
			t.Errorf("%s: %t", row.about, got)
		}
	}
	one, other := c.Get(first), c.Get(first)
	one.Answer[0].Header().Name = "changed."
	if other.Answer[0].Header().Name != "Www.Test." {
		t.Error("two callers got the same record")
	}
}

// TestBounds: however many names are asked for, the memory is bounded, and the last is kept.
func TestBounds(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := New(limits, NewMetrics(registry, prometheus.Labels{"server": "dns://:53"}))
	var last *dns.Msg
	for i := range 5000 {
		last = query(fmt.Sprintf("%d.test.", i))
		c.Put(last, reply(t, last, dns.RcodeNameError))
		if c.size > limits.Bytes {
			t.Fatalf("%d bytes after %d names", c.size, i)
		}
	}
	if c.Get(last) == nil || len(c.entries) < 50 {
		t.Errorf("of %d entries none is the last", len(c.entries))
	}
	huge := query("huge.test.")
	var text []string
	for i := range 1000 {
		text = append(text, fmt.Sprintf("huge.test. 60 A 192.0.%d.%d", i/250, i%250))
	}
	if c.Put(huge, reply(t, huge, 0, text...)); c.Get(huge) != nil {
		t.Error("one reply took most of the room")
	}
	if got := gauge(t, registry, "coredns_cache_entries"); got != float64(len(c.entries)) {
		t.Errorf("%d entries, and the metric says %v", len(c.entries), got)
	}
	c.Reset(Limits{})
	if c.Get(last) != nil || c.size != 0 {
		t.Error("something is left after a reset")
	}
	if c.Put(last, reply(t, last, dns.RcodeNameError)); c.Get(last) != nil {
		t.Error("it keeps, where it is turned off")
	}
}

// gauge is the sum of a metric over its labels.
func gauge(t *testing.T, registry *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name {
				sum += m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
