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

// kernel is the tables and the routes of one network namespace.
type kernel struct {
	host     *host.Host
	log      *slog.Logger
	pool     []netip.Prefix
	families []family      // of the pool
	timeout  time.Duration // of remembered connections

	marks   map[string]uint32 // numbers of nodes; a number is never used for another one
	applied map[string]*rules // by family; nil: nobody knows what the kernel holds
	// generation is what the number of the kernel's rules must be if nobody else has
	// touched them.
	generation uint32
}

func newKernel(c Config, log *slog.Logger) *kernel {
	pool, _ := c.pool() // validated
	return &kernel{host: c.Host, log: log, pool: pool, families: familiesOf(pool), timeout: c.ConnectionTimeout, marks: map[string]uint32{}}
}

// apply makes the kernel follow a plan.
func (k *kernel) apply(ctx context.Context, p *plan.Plan) error {
	for _, n := range p.Nodes {
		if _, known := k.marks[n.Name]; !known {
			k.marks[n.Name] = uint32(len(k.marks) + 1)
		}
	}
	if k.applied == nil {
		var err error
		if k.generation, err = generation(k.host); err != nil {
			return err
		}
	}
	var texts []string
	next := map[string]*rules{}
	for _, family := range k.families {
		if err := setRoutes(k.host, family, p.Nodes, k.marks); err != nil {
			return err
		}
		want, old := rulesOf(p, family, maps.Clone(k.marks)), k.applied[family.ip]
		if old == nil {
			texts = append(texts, baseText(k.pool, family, fmt.Sprintf("%ds", int(k.timeout.Seconds()))))
			old = &rules{}
		}
		texts = append(texts, want.transactions(old)...)
		next[family.ip] = want
	}
	k.applied = nil
	for _, text := range pack(texts) {
		if err := k.nft(ctx, text); err != nil {
			return err
		}
		k.generation++
	}
	k.applied = next
	return nil
}

// check looks whether somebody else changed rules on this machine, and if so has the next
// apply write ours anew.
func (k *kernel) check(ctx context.Context) {
	now, err := generation(k.host)
	if ctx.Err() == nil && k.applied != nil && (err != nil || now != k.generation) {
		k.log.Info("somebody else changed rules on this machine; ours are made anew", "err", err)
		k.applied = nil
	}
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
	var errs []error
	for _, family := range bothFamilies {
		errs = append(errs, k.nft(ctx, family.text("add table $IP load-balancer\ndelete table $IP load-balancer\n")), removeRoutes(h, family))
	}
	return errors.Join(errs...)
}
