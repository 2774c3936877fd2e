package ipvs

import (
	"context"
	"strings"
	"testing"

	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// Where the kernel has no IPVS the error says what is missing, how to get it, and what
// to do without.
func TestWithoutIPVS(t *testing.T) {
	Namespaces(t)
	if Supported(nil) == nil {
		t.Skip("this kernel has IPVS")
	}
	a := New(Config{Host: NewPlace(t, "node"), Settings: Settings{Family: plan.IPv4}})
	err := a.Start(context.Background())
	for _, part := range []string{"no IPVS", "modprobe ip_vs", "iptables and nftables"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one that mentions %q", err, part)
		}
	}
	if err := CleanupAll(context.Background(), a.cfg.Host); err != nil {
		t.Errorf("nothing to clean up, but: %v", err)
	}
}

// The same for a scheduler.
func TestWithoutScheduler(t *testing.T) {
	plane.Have(t)
	a := New(Config{Host: NewPlace(t, "node"), Settings: Settings{Family: plan.IPv4, Scheduler: "nosuch"}})
	err := a.Start(context.Background())
	if err == nil || !strings.Contains(err.Error(), "modprobe ip_vs_nosuch") || !strings.Contains(err.Error(), "rr, wrr") {
		t.Errorf("error %v, want one that names the module and what there is", err)
	}
}
