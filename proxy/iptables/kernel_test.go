package iptables

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// variants are Debian's two sets of programs. Both are tested, whatever the machine's
// choice is.
func variants(t *testing.T, f func(t *testing.T, variant string)) {
	t.Helper()
	Namespaces(t)
	for _, v := range []string{"nft", "legacy"} {
		t.Run(v, func(t *testing.T) {
			if _, err := host.LookPath("iptables-" + v); err != nil {
				t.Skip(err)
			}
			f(t, v)
		})
	}
}

func start(t testing.TB, h *host.Host, variant string, tweaks ...func(*Config)) *Applier {
	t.Helper()
	cfg := Config{Host: h, Family: plan.IPv4, Variant: variant, MasqueradeBit: 14, LocalhostNodePorts: true, Log: slog.New(slog.DiscardHandler)}
	for _, tweak := range tweaks {
		tweak(&cfg)
	}
	a := New(cfg)
	if err := a.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return a
}

func full(t testing.TB, a *Applier, s plan.Snapshot) plan.Report {
	t.Helper()
	report, err := a.Full(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// change moves from one snapshot to another as the sync loop does.
func change(t testing.TB, a *Applier, from, to plan.Snapshot) {
	t.Helper()
	if _, err := a.Change(context.Background(), Changes(from, to)); err != nil {
		t.Fatal(err)
	}
}

// intact fails the test unless the kernel holds exactly the snapshot.
func intact(t testing.TB, a *Applier, s plan.Snapshot) {
	t.Helper()
	lines, err := a.Check(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) > 0 {
		t.Errorf("the kernel differs from the plan, it would take:\n%s", strings.Join(lines, ""))
	}
}

// saved are the rules in the kernel, without counters, in an order of their own.
func saved(t testing.TB, a *Applier) []string {
	t.Helper()
	var out bytes.Buffer
	if err := a.programs.save(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	var rules []string
	table := ""
	for line := range strings.Lines(out.String()) {
		switch {
		case strings.HasPrefix(line, "*"):
			table = line
		case strings.HasPrefix(line, ":"), strings.HasPrefix(line, "-A"):
			rules = append(rules, strings.TrimSpace(table)+" "+strings.TrimSpace(strings.Split(line, " [")[0]))
		}
	}
	slices.Sort(rules)
	return rules
}

// Every scenario, by real packets.
func TestFlows(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		w := NewWorld(t)
		a := start(t, w.Node, variant)
		for _, s := range Scenarios {
			t.Run(s.Name, func(t *testing.T) {
				full(t, a, s.Plans())
				for _, f := range s.Flows {
					w.Check(t, f)
				}
				intact(t, a, s.Plans())
			})
		}
	})
}

// The same by way of changes: each scenario follows from the one before.
func TestFlowsByChange(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		w := NewWorld(t)
		a := start(t, w.Node, variant)
		last := Snapshot()
		full(t, a, last)
		for _, s := range Scenarios {
			t.Run(s.Name, func(t *testing.T) {
				change(t, a, last, s.Plans())
				last = s.Plans()
				for _, f := range s.Flows {
					w.Check(t, f)
				}
				intact(t, a, last)
			})
		}
	})
}

func TestP24MasqueradeAll(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		w := NewWorld(t)
		a := start(t, w.Node, variant, func(c *Config) { c.MasqueradeAll = true })
		full(t, a, Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("ac")...)))
		w.Check(t, Flow{From: "b", To: "10.96.0.41:80", Want: Masqueraded("ac")})
	})
}

// A client stays with its endpoint, through changes of others, until its own is gone.
func TestP21Affinity(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		w := NewWorld(t)
		a := start(t, w.Node, variant)
		with := func(pods string, tweaks ...Tweak) plan.Snapshot {
			return Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", tweaks...), Port, Pods(pods)...))
		}
		flow := Flow{From: "b", To: "10.96.0.41:80"}
		answers := func(n int) string {
			seen := ""
			for range n {
				name, _, err := w.Connect(flow)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(seen, name) {
					seen += name
				}
			}
			return seen
		}
		full(t, a, with("ac", Affinity(600)))
		first := answers(20)
		if len(first) != 1 {
			t.Fatalf("one client was answered by %q", first)
		}
		change(t, a, with("ac", Affinity(600)), with("abc", Affinity(600)))
		if got := answers(20); got != first {
			t.Errorf("after a new endpoint came %q answers, want %q as before", got, first)
		}
		others := strings.ReplaceAll("abc", first, "")
		change(t, a, with("abc", Affinity(600)), with(others, Affinity(600)))
		if got := answers(20); len(got) != 1 || !strings.Contains(others, got) {
			t.Errorf("after %s went %q answers, want one of %s", first, got, others)
		}
		change(t, a, with(others, Affinity(600)), with(others))
		if got := answers(60); len(got) != 2 {
			t.Errorf("without affinity %q answers, want both of %s", got, others)
		}
	})
}

// NodePorts on the loopback address, for the node alone (P10, P32).
func TestP32Localhost(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		w := NewWorld(t)
		svc := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080)), Port, Pods("ac")...))
		a := start(t, w.Node, variant)
		full(t, a, svc)
		w.Check(t, Flow{From: "node", To: "127.0.0.1:30080", Want: Served("ac")})
		a = start(t, w.Node, variant, func(c *Config) { c.LocalhostNodePorts = false })
		full(t, a, svc)
		w.Check(t, Flow{From: "node", To: "127.0.0.1:30080", Want: Refused})
		w.Check(t, Flow{From: "outside", To: NodeIP + ":30080", Want: Masqueraded("ac")})
		intact(t, a, svc)
	})
}

// Connections that are there stay when endpoints come and go.
func TestEstablishedConnectionsStay(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		w := NewWorld(t)
		a := start(t, w.Node, variant)
		ln, err := w.Place("c").Listen(context.Background(), "tcp", ":9090")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		svc := Service("ns1", "svc1", "10.96.0.41")
		before := Snapshot(Planned(svc, 9090, Pods("c")...))
		full(t, a, before)
		client, err := w.Dial("b", "tcp", "10.96.0.41:80")
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		for _, next := range []plan.Snapshot{Snapshot(Planned(svc, 9090, Pods("abc")...)), Snapshot(Planned(svc, 9090)), Snapshot()} {
			change(t, a, before, next)
			before = next
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
