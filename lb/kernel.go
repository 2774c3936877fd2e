package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"time"

	"orrery.example.org/host"
	"orrery.example.org/lb/plan"
)

// kernel is the table and the routes of one network namespace.
type kernel struct {
	host    *host.Host
	log     *slog.Logger
	pool    []netip.Prefix
	timeout time.Duration // of remembered connections

	marks   map[string]uint32 // numbers of nodes; a number is never used for another one
	applied *rules            // nil: nobody knows what the kernel holds
	print   string            // the table as it was after the last change
}

func newKernel(c Config, log *slog.Logger) *kernel {
	pool, _ := c.pool() // validated
	return &kernel{host: c.Host, log: log, pool: pool, timeout: c.ConnectionTimeout, marks: map[string]uint32{}}
}

// apply makes the kernel follow a plan.
func (k *kernel) apply(ctx context.Context, p *plan.Plan) error {
	for _, n := range p.Nodes {
		if _, known := k.marks[n.Name]; !known {
			k.marks[n.Name] = uint32(len(k.marks) + 1)
		}
	}
	if err := setRoutes(k.host, p.Nodes, k.marks); err != nil {
		return err
	}
	want, old := rulesOf(p, maps.Clone(k.marks)), k.applied
	k.applied = nil
	if old == nil {
		if err := k.nft(ctx, baseText(k.pool, fmt.Sprintf("%ds", int(k.timeout.Seconds())))); err != nil {
			return err
		}
		old = &rules{}
	}
	texts := want.transactions(old)
	for _, text := range texts {
		if err := k.nft(ctx, text); err != nil {
			return err
		}
	}
	if k.print == "" || len(texts) > 0 {
		var err error
		if k.print, err = k.fingerprint(ctx); err != nil {
			return err
		}
	}
	k.applied = want
	return nil
}

// check looks whether somebody else changed the table, and if so has the next apply
// write all of it.
func (k *kernel) check(ctx context.Context) {
	if k.applied == nil {
		return
	}
	print, err := k.fingerprint(ctx)
	if ctx.Err() == nil && (err != nil || print != k.print) {
		k.log.Info("the rules were changed by somebody else; they are made anew", "err", err)
		k.applied, k.print = nil, ""
	}
}

// fingerprint is the text of the table, without the elements that come and go with
// connections.
func (k *kernel) fingerprint(ctx context.Context) (string, error) {
	rules, err := k.host.Command(ctx, "nft", "--terse", "list", "table", "ip", "load-balancer").Output()
	if err != nil {
		return "", err
	}
	services, err := k.host.Command(ctx, "nft", "list", "map", "ip", "load-balancer", "services").Output()
	return string(rules) + string(services), err
}

func (k *kernel) nft(ctx context.Context, text string) error {
	cmd := k.host.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	_, err := cmd.Output()
	return err
}

// Cleanup removes from a network namespace what a balancer made there, however it ended.
func Cleanup(ctx context.Context, h *host.Host) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	k := &kernel{host: h}
	return errors.Join(k.nft(ctx, "add table ip load-balancer\ndelete table ip load-balancer\n"), removeRoutes(h))
}
