package nftables

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

func start(t testing.TB, h *host.Host, tweaks ...func(*Settings)) *Applier {
	t.Helper()
	cfg := Config{Host: h, Log: slog.New(slog.DiscardHandler), Settings: Settings{
		Family: plan.IPv4, MasqueradeBit: 14, ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12")}}
	for _, tweak := range tweaks {
		tweak(&cfg.Settings)
	}
	a := New(cfg)
	t.Cleanup(func() { _ = a.Close() })
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

// intact fails the test unless the kernel holds exactly the snapshot, and unless the
// cheap check says so too.
func intact(t testing.TB, a *Applier, s plan.Snapshot) {
	t.Helper()
	differences, err := a.Check(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(differences) > 0 {
		t.Errorf("the kernel differs from the plan:\n%s", strings.Join(differences, "\n"))
	}
	if ok, err := a.Intact(context.Background()); err != nil || !ok {
		t.Errorf("intact=%v, error %v", ok, err)
	}
}

// nft runs the program in a place.
func nft(t testing.TB, h *host.Host, args ...string) string {
	t.Helper()
	out, err := h.Command(context.Background(), "nft", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Every scenario, by real packets.
func TestFlows(t *testing.T) {
	w := NewWorld(t)
	a := start(t, w.Node)
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			full(t, a, s.Plans())
			for _, f := range s.NFTables() {
				w.Check(t, f)
			}
			intact(t, a, s.Plans())
		})
	}
}

// The same by way of changes: each scenario follows from the one before.
func TestFlowsByChange(t *testing.T) {
	w := NewWorld(t)
	a := start(t, w.Node)
	last := Snapshot()
	full(t, a, last)
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			change(t, a, last, s.Plans())
			last = s.Plans()
			for _, f := range s.NFTables() {
				w.Check(t, f)
			}
			intact(t, a, last)
		})
	}
}
