package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"orrery.example.org/host"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
)

// The modes, which are the backends.
const (
	ModeIPTables = "iptables"
	ModeNFTables = "nftables"
)

// mode is a way to program the kernel.
type mode struct {
	name string
	make func(Config, plan.Family, *slog.Logger) backend
	// cleanup removes the rules of this mode, of both families, whoever made them.
	cleanup func(context.Context, *host.Host) error
}

var modes = []*mode{
	{ModeIPTables, newIPTables, iptables.CleanupAll},
	{ModeNFTables, newNFTables, nftables.CleanupAll},
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
	for _, m := range modes {
		if m != keep {
			errs = append(errs, m.cleanup(ctx, h))
		}
	}
	return errors.Join(errs...)
}
