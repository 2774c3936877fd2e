package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"orrery.example.org/host"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/ipvs"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
)

// The modes, which are the backends.
const (
	ModeIPTables = "iptables"
	ModeNFTables = "nftables"
	ModeIPVS     = "ipvs"
)

// mode is a way to program the kernel.
type mode struct {
	name string
	make func(Config, plan.Family, *slog.Logger) backend
	// leaves is what it leaves in a kernel.
	leaves []*leftover
}

// leftover is something that modes leave in a kernel.
type leftover struct {
	// cleanup removes it, of both families, whoever made it.
	cleanup func(context.Context, *host.Host) error
	// retire is cleanup where another mode's rules serve now: connections go on.
	retire func(context.Context, *host.Host) error
}

// The leftovers, in the order in which they can go. ipvs has chains of iptables around
// its virtual servers, some of the same names as those of the mode iptables: with its first
// full sync either mode makes what it finds there its own.
var (
	chains    = &leftover{iptables.CleanupAll, iptables.CleanupAll}
	tables    = &leftover{nftables.CleanupAll, nftables.CleanupAll}
	servers   = &leftover{ipvs.CleanupAll, ipvs.RetireAll}
	leftovers = []*leftover{chains, tables, servers}
)

var modes = []*mode{
	{ModeIPTables, newIPTables, []*leftover{chains}},
	{ModeNFTables, newNFTables, []*leftover{tables}},
	{ModeIPVS, newIPVS, []*leftover{chains, servers}},
}

func newIPTables(cfg Config, f plan.Family, log *slog.Logger) backend {
	return iptables.New(iptables.Config{
		Host: cfg.Host, Family: f, Variant: cfg.IPTablesVariant, Log: log,
		MasqueradeAll: cfg.MasqueradeAll, MasqueradeBit: cfg.MasqueradeBit,
		LocalhostNodePorts: cfg.LocalhostNodePorts,
	})
}

func newNFTables(cfg Config, f plan.Family, log *slog.Logger) backend {
	serviceCIDR, _ := firstOf(f, cfg.ServiceCIDR) // validated
	return nftables.New(nftables.Config{Host: cfg.Host, Log: log, Settings: nftables.Settings{
		Family: f, MasqueradeAll: cfg.MasqueradeAll, MasqueradeBit: cfg.MasqueradeBit, ServiceCIDR: serviceCIDR,
	}})
}

func newIPVS(cfg Config, f plan.Family, log *slog.Logger) backend {
	exclude, _ := prefixes(cfg.IPVSExcludeCIDRs) // validated
	return ipvs.New(ipvs.Config{
		Host: cfg.Host, Variant: cfg.IPTablesVariant, Log: log, StrictARP: cfg.IPVSStrictARP, ExcludeCIDRs: exclude,
		Settings: ipvs.Settings{Family: f, Scheduler: cfg.IPVSScheduler, MasqueradeAll: cfg.MasqueradeAll, MasqueradeBit: cfg.MasqueradeBit},
		Timeouts: ipvs.Timeouts{TCP: cfg.IPVSTCPTimeout, TCPFin: cfg.IPVSTCPFinTimeout, UDP: cfg.IPVSUDPTimeout},
	})
}

// Modes are the names of all modes.
func Modes() []string {
	var names []string
	for _, m := range modes {
		names = append(names, m.name)
	}
	return names
}

func modeOf(name string) (*mode, error) {
	for _, m := range modes {
		if m.name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("mode %q is unknown; there are: %s", name, strings.Join(Modes(), ", "))
}

// Cleanup removes all rules of kube-proxy's from a network namespace, of both families,
// of all modes, and of both variants of iptables as far as the machine has them.
func Cleanup(ctx context.Context, h *host.Host) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return cleanupBut(ctx, h, nil)
}

// cleanupBut removes the rules of all modes but one.
func cleanupBut(ctx context.Context, h *host.Host, keep *mode) error {
	var errs []error
	for _, l := range leftovers {
		switch {
		case keep == nil:
			errs = append(errs, l.cleanup(ctx, h))
		case !slices.Contains(keep.leaves, l):
			errs = append(errs, l.retire(ctx, h))
		}
	}
	return errors.Join(errs...)
}
