package lb

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/lb/plan"
)

// world is the rules for some frontends: address -> nodes.
func world(frontends map[string]plan.Group, nodes ...string) *rules {
	p := &plan.Plan{Frontends: map[plan.Frontend]plan.Group{}}
	marks := map[string]uint32{}
	for i, n := range nodes {
		p.Nodes = append(p.Nodes, plan.Node{Name: n, Addr: netip.MustParseAddr("10.1.0.1")})
		marks[n] = uint32(i + 1)
	}
	for address, g := range frontends {
		a := netip.MustParseAddrPort(address)
		p.Services = append(p.Services, plan.Service{Addr: a.Addr()})
		p.Frontends[plan.Frontend{Addr: a.Addr(), Protocol: corev1.ProtocolTCP, Port: a.Port()}] = g
	}
	return rulesOf(p, ipv4, marks)
}

// TestTransactions looks at the order of what is done, one line for each command.
func TestTransactions(t *testing.T) {
	both, one := plan.Group{Nodes: []string{"a", "b"}}, plan.Group{Nodes: []string{"b"}}
	before := world(map[string]plan.Group{"10.0.0.1:80": both, "10.0.0.2:80": both}, "a", "b")
	after := world(map[string]plan.Group{"10.0.0.1:80": one, "10.0.0.3:80": one}, "a", "b")
	after.marks = map[string]uint32{"b": 2}
	for name, row := range map[string]struct {
		old, want *rules
		commands  []string
	}{
		"nothing changed": {before, before, nil},
		"from nothing": {&rules{}, world(map[string]plan.Group{"10.0.0.1:80": one}, "a", "b"), []string{
			"add element nodes { 1 }", "add element nodes { 2 }", "--",
			"add map slots-" + one.ID(), "add element slots-" + one.ID(), "add chain spread-" + one.ID(),
			"add rule spread-" + one.ID(), "add rule spread-" + one.ID(), "--",
			"add element addresses { 10.0.0.1 }", "add element services { 10.0.0.1 . tcp . 80 : goto spread-" + one.ID() + " }",
		}},
		"other nodes, other Services": {before, after, []string{
			"add map slots-" + one.ID(), "add element slots-" + one.ID(), "add chain spread-" + one.ID(),
			"add rule spread-" + one.ID(), "add rule spread-" + one.ID(), "--",
			"add element addresses { 10.0.0.3 }",
			"delete element services { 10.0.0.1 . tcp . 80 : goto spread-" + both.ID() + " }",
			"add element services { 10.0.0.1 . tcp . 80 : goto spread-" + one.ID() + " }",
			"delete element services { 10.0.0.2 . tcp . 80 : goto spread-" + both.ID() + " }",
			"add element services { 10.0.0.3 . tcp . 80 : goto spread-" + one.ID() + " }",
			"delete element addresses { 10.0.0.2 }", "--",
			"delete chain spread-" + both.ID(), "delete map slots-" + both.ID(), "delete element nodes { 1 }",
		}},
	} {
		var got []string
		for i, text := range row.want.transactions(row.old) {
			if i > 0 {
				got = append(got, "--")
			}
			for line := range strings.Lines(text) {
				line = strings.TrimSpace(strings.Replace(line, "ip load-balancer ", "", 1))
				if line == "" {
					continue
				}
				if words := strings.Fields(line); strings.Contains(line, "slots-") || words[1] == "rule" {
					line = strings.Join(words[:3], " ")
				}
				got = append(got, line)
			}
		}
		if strings.Join(got, "\n") != strings.Join(row.commands, "\n") {
			t.Errorf("%s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(row.commands, "\n"))
		}
	}
}

// TestTransactionsAreBounded: without root the kernel takes a limited amount at a time.
func TestTransactionsAreBounded(t *testing.T) {
	frontends := map[string]plan.Group{}
	a := netip.MustParseAddr("10.0.0.1")
	for range 3000 {
		frontends[netip.AddrPortFrom(a, 80).String()] = plan.Group{Nodes: []string{"a"}}
		a = a.Next()
	}
	texts := world(frontends, "a").transactions(&rules{})
	if len(texts) < 10 {
		t.Errorf("%d transactions", len(texts))
	}
	for _, text := range texts {
		if len(text) > 100_000 {
			t.Errorf("a transaction of %d bytes", len(text))
		}
	}
}

// TestPack: nothing is lost or reordered, and what is small is one transaction.
func TestPack(t *testing.T) {
	half := strings.Repeat("x", perRun/2)
	for _, row := range []struct {
		texts []string
		want  int
	}{{nil, 0}, {[]string{"a", "b", "c"}, 1}, {[]string{half, half, "a", "b"}, 2}, {[]string{"a", half + half, "b"}, 3}} {
		packed := pack(row.texts)
		if len(packed) != row.want || strings.Join(packed, "") != strings.Join(row.texts, "") {
			t.Errorf("%d texts became %d, want %d", len(row.texts), len(packed), row.want)
		}
	}
	full := append([]string{base}, world(map[string]plan.Group{"10.0.0.1:80": {Nodes: []string{"a", "b", "c"}}}, "a", "b", "c").transactions(&rules{})...)
	if n := len(pack(full)); n != 1 {
		t.Errorf("all rules of a small world take %d transactions", n)
	}
}

func TestConfig(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no pool":   {func(c *Config) { c.Pool = nil }, "pool is empty"},
		"overlap":   {func(c *Config) { c.Pool = []string{"10.0.0.0/8", "10.1.0.0/16"} }, "overlap"},
		"a range":   {func(c *Config) { c.Pool = []string{"10.0.0.1-10.0.0.9"} }, "pool"},
		"port":      {func(c *Config) { c.HealthCheckPort = 0 }, "health-check-port 0"},
		"interval":  {func(c *Config) { c.HealthCheckInterval = 0 }, "must be positive"},
		"threshold": {func(c *Config) { c.UnhealthyThreshold = 0 }, "at least 1"},
		"client":    {func(c *Config) {}, "no API client"},
	} {
		c := Defaults()
		row.change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
