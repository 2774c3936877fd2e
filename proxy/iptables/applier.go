package iptables

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// How many lines one transaction may have. iptables-nft takes 0.4 s for 23,000 lines in
// pieces of 5,000, and four times that in one piece. In a user namespace about 450 lines
// fit into a socket's send buffer of 212,992 bytes. iptables-legacy has no such limits
// and copies the whole table with every call, so that it gets everything at once.
const (
	linesPrivileged   = 5_000
	linesUnprivileged = 300
	linesLeast        = 20
)

// Beyond this many endpoints the rules carry no comments per endpoint (P47).
const largeCluster = 1000

// Config is what an Applier needs to know.
type Config struct {
	Host    *host.Host // the node's network namespace
	Family  plan.Family
	Variant string // "nft" or "legacy" for one of Debian's two sets of programs; "": the machine's choice
	Log     *slog.Logger

	MasqueradeAll      bool
	MasqueradeBit      int
	LocalhostNodePorts bool
}

// Applier keeps one family's rules in the kernel. Its methods are not safe for
// concurrent use; the sync loop is its only caller.
type Applier struct {
	settings Settings
	programs programs
	detected detected
	log      *slog.Logger
	limit    int            // lines in a batch; learnt by failing
	total    map[string]int // rules in the kernel by table, as far as this Applier made them
}

// New makes an Applier for one network namespace. Nothing runs yet.
func New(cfg Config) *Applier {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Applier{
		settings: Settings{
			Family: cfg.Family, MasqueradeAll: cfg.MasqueradeAll, MasqueradeBit: cfg.MasqueradeBit,
			LocalhostPort: cfg.LocalhostNodePorts,
		},
		programs: programs{host: cfg.Host, family: cfg.Family, variant: cfg.Variant},
		log:      cfg.Log, limit: linesPrivileged, total: map[string]int{},
	}
}

// Start finds out what the machine's iptables can do. Nothing is programmed yet.
func (a *Applier) Start(ctx context.Context) error {
	var err error
	if a.detected, err = a.programs.detect(ctx); err != nil {
		return err
	}
	a.settings.RandomFully = a.detected.randomFully
	a.settings.TCPLiberal = liberal(a.programs.host)
	switch {
	case !a.detected.nft:
		a.limit = math.MaxInt
	case !privileged():
		a.limit = linesUnprivileged
	}
	a.log.Debug("iptables found", "program", a.programs.name(""), "nft", a.detected.nft, "lines-per-batch", a.limit)
	return nil
}

// Full makes the kernel hold exactly the rules of a snapshot. It reads what is there
// first and writes the difference, so it is also the repair of whatever others did, and
// costs established Services nothing.
func (a *Applier) Full(ctx context.Context, s plan.Snapshot) (plan.Report, error) {
	a.follow(s)
	return a.fill(ctx, a.settings.Base(), s.All())
}

// Hold makes the kernel hold exactly these chains and jumps, of all that kube-proxy has
// names for: the mode ipvs needs some around its virtual servers.
func (a *Applier) Hold(ctx context.Context, base Base) (plan.Report, error) {
	return a.fill(ctx, base, noServices)
}

func noServices(func(*plan.Service) bool) {}

func (a *Applier) fill(ctx context.Context, base Base, services iter.Seq[*plan.Service]) (plan.Report, error) {
	for {
		have, err := a.read(ctx, base)
		if err != nil {
			return plan.Report{}, err
		}
		total := map[string]int{}
		base.count(total)
		report, err := a.apply(ctx, have, func(d *differ) error { return d.full(base, a.rulesOf(services, total)) })
		if a.smaller(err) {
			continue
		}
		if err == nil {
			a.total = total
		}
		report.Total = maps.Clone(a.total)
		return report, err
	}
}

// follow takes over what all rules depend on.
func (a *Applier) follow(s plan.Snapshot) {
	a.settings.Local, a.settings.NodePortIPs = s.Local, s.NodePortIPs
	a.settings.Terse = s.Endpoints() > largeCluster
}

// rulesOf yields the rules of Services one after the other, and counts them.
func (a *Applier) rulesOf(services iter.Seq[*plan.Service], total map[string]int) iter.Seq[ServiceRules] {
	return func(yield func(ServiceRules) bool) {
		for svc := range services {
			rules := a.settings.Service(svc)
			rules.count(total, 1)
			if !yield(rules) {
				return
			}
		}
	}
}

// Change moves some Services from one plan to the next. It trusts that the kernel holds
// the old ones; where it does not, it fails, and a Full is due.
func (a *Applier) Change(ctx context.Context, changes []plan.Change) (plan.Report, error) {
	before, after := make([]ServiceRules, len(changes)), make([]ServiceRules, len(changes))
	for i, c := range changes {
		before[i], after[i] = a.settings.Service(c.Old), a.settings.Service(c.New)
	}
	report, err := a.apply(ctx, stateOf(before, a.settings.Family), func(d *differ) error { return d.change(after) })
	a.smaller(err)
	if err == nil {
		for i := range changes {
			before[i].count(a.total, -1)
			after[i].count(a.total, 1)
		}
	}
	report.Total = maps.Clone(a.total)
	return report, err
}

// apply runs a comparison and feeds what it emits to iptables-restore.
func (a *Applier) apply(ctx context.Context, have *State, compare func(*differ) error) (plan.Report, error) {
	report := plan.Report{Written: map[string]int{}}
	b := batcher{limit: a.limit, run: func(input []byte) error {
		report.Batches++
		return a.programs.restore(ctx, input)
	}}
	err := compare(newDiffer(have, a.settings.Family, a.limit, func(o op) error {
		report.Written[string(o.table)] += o.lines
		return b.add(o)
	}))
	if err == nil {
		err = b.flush()
	}
	return report, err
}

// smaller halves the batches after a failure for their size, and tells whether a new
// attempt makes sense.
func (a *Applier) smaller(err error) bool {
	if !errors.Is(err, errTooBig) || a.limit/2 < linesLeast {
		return false
	}
	a.limit = min(a.limit, linesPrivileged) / 2
	a.log.Info("the kernel takes only smaller transactions", "lines-per-batch", a.limit)
	return true
}

func (a *Applier) read(ctx context.Context, base Base) (*State, error) {
	have, w := readSave(base)
	if err := a.programs.save(ctx, w); err != nil {
		return nil, fmt.Errorf("read the kernel's rules: %w", err)
	}
	return have, nil
}

// Intact tells whether the canary chains are still there. It costs three short programs
// whatever the number of rules, and notices a flushed table, not an edited rule (P48).
func (a *Applier) Intact(context.Context) (bool, error) {
	intact := true
	err := a.programs.host.Do(func() error {
		for _, table := range []Table{Mangle, Nat, Filter} {
			there, err := a.detected.ipt.ChainExists(string(table), chainCanary)
			if err != nil {
				return fmt.Errorf("look for %s in table %s: %w", chainCanary, table, err)
			}
			intact = intact && there
		}
		return nil
	})
	return intact, err
}

// Check compares the kernel with a snapshot and returns what would have to be written to
// make it right: nothing, if it is.
func (a *Applier) Check(ctx context.Context, s plan.Snapshot) ([]string, error) {
	a.follow(s)
	return a.compare(ctx, a.settings.Base(), s.All())
}

// CheckHold is Check for what Hold has made.
func (a *Applier) CheckHold(ctx context.Context, base Base) ([]string, error) {
	return a.compare(ctx, base, noServices)
}

func (a *Applier) compare(ctx context.Context, base Base, services iter.Seq[*plan.Service]) ([]string, error) {
	have, err := a.read(ctx, base)
	if err != nil {
		return nil, err
	}
	var lines []string
	d := newDiffer(have, a.settings.Family, math.MaxInt, func(o op) error {
		lines = append(lines, "*"+string(o.table)+" "+o.text)
		return nil
	})
	return lines, d.full(base, a.rulesOf(services, map[string]int{}))
}

// Cleanup removes every chain and rule of kube-proxy's from the network namespace,
// whoever put them there. Where there is nothing, nothing happens.
func (a *Applier) Cleanup(ctx context.Context) error {
	for {
		have, err := a.read(ctx, a.settings.Base())
		if err == nil {
			_, err = a.apply(ctx, have, func(d *differ) error { return d.full(Base{}, a.rulesOf(noServices, nil)) })
		}
		if a.smaller(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("remove rules: %w", err)
		}
		return nil
	}
}

// CleanupAll removes all rules of kube-proxy's, of both families and both variants of
// iptables, as far as the machine has the programs.
func CleanupAll(ctx context.Context, h *host.Host) error {
	var errs []error
	for _, family := range []plan.Family{plan.IPv4, plan.IPv6} {
		for _, variant := range []string{"nft", "legacy"} {
			a := New(Config{Host: h, Family: family, Variant: variant})
			if _, err := host.LookPath(a.programs.name("-save")); err != nil {
				continue
			}
			if !privileged() && a.limit > linesUnprivileged {
				a.limit = linesUnprivileged
			}
			errs = append(errs, a.Cleanup(ctx))
		}
	}
	return errors.Join(errs...)
}
