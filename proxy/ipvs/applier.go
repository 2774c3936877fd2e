package ipvs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"orrery.example.org/host"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

// Config is what an Applier needs to know.
type Config struct {
	Host     *host.Host // the node's network namespace
	Variant  string     // of iptables; see iptables.Config
	Log      *slog.Logger
	Settings // Local is part of each snapshot

	StrictARP    bool           // answer ARP for an address only on the interface that has it
	ExcludeCIDRs []netip.Prefix // virtual servers of others, which stay
	Timeouts     Timeouts
}

// Applier keeps one family's rules in the kernel. Its methods are not safe for
// concurrent use; the sync loop is its only caller.
type Applier struct {
	cfg    Config
	chains *iptables.Applier
	log    *slog.Logger
	k      *kernel // nil: closed

	// What the kernel holds, as far as this Applier made it.
	tally   *tally
	local   plan.Local
	noNode  map[Virtual]bool
	leaving map[leaver]bool  // the value tells that it has no weight any more
	retired map[Virtual]bool // those that nobody wants and that still have connections
}

// New makes an Applier for one network namespace. Nothing runs yet.
func New(cfg Config) *Applier {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Applier{cfg: cfg, log: cfg.Log, leaving: map[leaver]bool{}, retired: map[Virtual]bool{}, chains: iptables.New(iptables.Config{
		Host: cfg.Host, Family: cfg.Family, Variant: cfg.Variant, Log: cfg.Log, MasqueradeBit: cfg.MasqueradeBit,
	})}
}

// Start finds out whether the machine has what it takes, and turns the kernel's switches.
func (a *Applier) Start(ctx context.Context) error {
	if err := a.chains.Start(ctx); err != nil {
		return err
	}
	if err := a.connect(); err != nil {
		return err
	}
	if _, _, err := a.k.sets.IpsetProtocol(); err != nil {
		return fmt.Errorf("the kernel has no ipsets (as root: modprobe ip_set), which the mode ipvs needs: %w", err)
	}
	if err := a.tryScheduler(); err != nil {
		return err
	}
	return a.tune()
}

// connect opens the sockets that Close closes, unless they are open.
func (a *Applier) connect() (err error) {
	if a.k == nil {
		a.k, err = dial(a.cfg.Host, a.cfg.Family)
	}
	return err
}

// Close closes the sockets. The rules stay. The next call of another method opens them anew.
func (a *Applier) Close() error {
	if a.k != nil {
		a.k.close()
		a.k = nil
	}
	return nil
}

// Full makes the kernel hold exactly the model of a snapshot. It reads what is there
// first and writes the difference, so it is also the repair of whatever others did, and
// costs established Services nothing.
func (a *Applier) Full(ctx context.Context, s plan.Snapshot) (plan.Report, error) {
	a.tally = nil // until this one is through
	if err := a.connect(); err != nil {
		return plan.Report{}, err
	}
	dev, err := device(a.k.links, true)
	if err != nil {
		return plan.Report{}, err
	}
	a.retired = map[Virtual]bool{} // the kernel tells which there are
	have, own, err := a.read(dev, true)
	if err != nil {
		return plan.Report{}, err
	}
	tally := a.count(s, own)
	w := writer{Applier: a, dev: dev, have: have, want: tally.all(), report: plan.Report{Written: map[string]int{}}}
	err = w.bring(func() error { return a.hold(ctx, &w) })
	if err == nil {
		a.tally = tally
		err = a.sweep(dev, have.Addresses)
	}
	return w.total(), err
}

// count makes the tally of a snapshot.
func (a *Applier) count(s plan.Snapshot, others []netip.Addr) *tally {
	own := Own{Node: others}
	if a.local = s.Local; s.NodePortIPs != nil {
		// The proxy takes the addresses of Device for the node's like any other.
		own.NodePort = slices.DeleteFunc(slices.Clone(s.NodePortIPs), func(ip netip.Addr) bool { return !slices.Contains(others, ip) })
		own.NodePort = append([]netip.Addr{}, own.NodePort...)
	}
	t := newTally(&a.cfg.Settings, own)
	for svc := range s.All() {
		t.add(svc)
	}
	return t
}

// Change moves some Services from one plan to the next. It trusts that the kernel holds
// the old ones; where it does not, it fails, and a Full is due.
func (a *Applier) Change(ctx context.Context, changes []plan.Change) (plan.Report, error) {
	if a.tally == nil {
		return plan.Report{}, errors.New("ipvs: a change before the first full sync")
	}
	dev, err := device(a.k.links, false)
	if err == nil && dev == nil {
		err = fmt.Errorf("somebody has deleted the interface %s", Device)
	}
	if err != nil {
		return plan.Report{}, err
	}
	tally := a.tally
	before, after := tally.move(changes)
	w := writer{Applier: a, dev: dev, have: before, want: after, report: plan.Report{Written: map[string]int{}}}
	err = w.bring(func() error {
		noNode := maps.Clone(a.noNode)
		maps.DeleteFunc(noNode, func(v Virtual, _ bool) bool { return before.NoNode[v] })
		maps.Copy(noNode, after.NoNode)
		if maps.Equal(noNode, a.noNode) {
			return nil
		}
		w.want.NoNode = noNode
		return a.hold(ctx, &w)
	})
	if err != nil {
		a.tally = nil
	}
	return w.total(), err
}

// hold makes the chains right.
func (a *Applier) hold(ctx context.Context, w *writer) error {
	report, err := a.chains.Hold(ctx, a.cfg.Rules(a.local, w.want.NoNode))
	if err == nil {
		a.noNode = w.want.NoNode
	}
	for table, n := range report.Written {
		w.report.Written[table] += n
	}
	w.report.Batches += report.Batches
	return err
}

// Intact tells whether the kernel still holds what this Applier has put there. Real
// servers whose last connection has ended go by the way.
func (a *Applier) Intact(ctx context.Context) (bool, error) {
	if a.tally == nil {
		return false, nil
	}
	want := a.tally.all()
	differences, err := a.compare(ctx, want)
	if err != nil || len(differences) > 0 {
		return false, err
	}
	dev, bound, _, err := a.bound()
	if err != nil {
		return false, err
	}
	return true, a.sweep(dev, bound)
}

// Check compares the kernel with a snapshot and returns what differs: nothing, if it is
// as it should be.
func (a *Applier) Check(ctx context.Context, s plan.Snapshot) ([]string, error) {
	if err := a.connect(); err != nil {
		return nil, err
	}
	_, _, others, err := a.bound()
	if err != nil {
		return nil, err
	}
	return a.compare(ctx, a.count(s, others).all())
}

// bound is Device, the addresses on it, and those on other interfaces.
func (a *Applier) bound() (dev netlink.Link, ours map[netip.Addr]bool, others []netip.Addr, err error) {
	if dev, err = device(a.k.links, false); err == nil {
		ours, others, err = a.k.addresses(dev)
	}
	return dev, ours, others, err
}

// compare lists how the kernel differs from a model.
func (a *Applier) compare(ctx context.Context, want Model) ([]string, error) {
	dev, err := device(a.k.links, false)
	if err != nil {
		return nil, err
	}
	have, _, err := a.read(dev, false)
	if err != nil {
		return nil, err
	}
	for v, server := range have.Servers { // those that take leave are no difference
		if _, wanted := want.Servers[v]; !wanted && a.retired[v] && len(server.Real) == 0 {
			if delete(have.Servers, v); !want.Addresses[v.Addr.Addr()] {
				delete(have.Addresses, v.Addr.Addr())
			}
		}
	}
	rules, err := a.chains.CheckHold(ctx, a.cfg.Rules(a.local, want.NoNode))
	return append(difference(have, want), rules...), err
}

// read is what the kernel holds, and the node's own addresses. Sets that are missing are
// made, if asked to.
func (a *Applier) read(dev netlink.Link, create bool) (have Model, others []netip.Addr, err error) {
	have = newModel()
	if have.Servers, a.leaving, err = a.k.servers(); err != nil {
		return have, nil, err
	}
	maps.DeleteFunc(have.Servers, func(v Virtual, _ Server) bool {
		return slices.ContainsFunc(a.cfg.ExcludeCIDRs, func(p netip.Prefix) bool { return p.Contains(v.Addr.Addr()) })
	})
	for _, set := range Sets {
		entries, there, err := a.k.entries(set)
		if err == nil && !there && create {
			err = a.k.createSet(set)
		}
		if err != nil {
			return have, nil, err
		}
		for _, e := range entries {
			have.Entries[e] = true
		}
	}
	have.Addresses, others, err = a.k.addresses(dev)
	return have, others, err
}

// Cleanup removes everything, whoever put it there.
func (a *Applier) Cleanup(ctx context.Context) error {
	err := a.chains.Cleanup(ctx)
	a.tally, a.noNode, a.leaving, a.retired = nil, nil, map[leaver]bool{}, map[Virtual]bool{}
	return errors.Join(err, a.Close(), remover{a.cfg.Host, a.cfg.Family, a.cfg.ExcludeCIDRs, true}.all())
}
