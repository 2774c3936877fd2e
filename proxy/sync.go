package proxy

import (
	"context"
	"log/slog"
	"time"

	"orrery.example.org/proxy/plan"
)

// Beyond this many endpoints the kernel's rules are not compared with the plan every
// SyncPeriod, only looked at for signs of a flush. Upstream calls that a large cluster.
const largeCluster = 1000

// The delays between attempts after failures.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// family is the state of one IP family's sync.
type family struct {
	name     plan.Family
	log      *slog.Logger
	mode     *mode
	backend  backend
	node     plan.Node
	local    plan.Local
	plans    map[plan.Name]*plan.Service // what the kernel holds, unless needFull
	needFull bool
	lastFull time.Time
	failures int
	err      error // of the last sync
}

// loop turns events into syncs until ctx ends. Events share a sync when they come while
// one runs, or within MinSyncPeriod of the last.
func (p *Proxy) loop(ctx context.Context, in *informers) {
	check := time.NewTicker(p.cfg.SyncPeriod)
	defer check.Stop()
	retry := time.NewTimer(0)
	retry.Stop()
	defer p.checks.close()
	p.queue.addAll()
	for {
		var lookCloser bool
		select {
		case <-ctx.Done():
			return
		case <-p.queue.wake:
		case <-retry.C:
		case <-check.C:
			lookCloser = true
		case r := <-p.requests:
			r.done <- p.exchange(ctx, in, r.mode)
			continue
		}
		start := time.Now()
		worst := p.sync(ctx, in, p.queue.take(), lookCloser)
		if worst > 0 {
			retry.Reset(min(firstRetry<<min(worst-1, 10), lastRetry))
		} else {
			p.settled(ctx, lookCloser)
		}
		if !sleep(ctx, p.cfg.MinSyncPeriod-time.Since(start)) {
			return
		}
	}
}

// sync brings every family up to date and returns the most failures in a row of any.
func (p *Proxy) sync(ctx context.Context, in *informers, b batch, lookCloser bool) (failures int) {
	for _, f := range p.families {
		changes := p.replan(f, in, b)
		if lookCloser {
			p.lookCloser(ctx, f)
		}
		if !f.needFull && len(changes) == 0 {
			p.health.updated(f.name)
			continue
		}
		p.apply(ctx, f, changes, b)
		failures = max(failures, f.failures)
	}
	p.checks.sync(ctx, p.families[0].plans)
	return failures
}

// replan makes the plans that a batch asks for and returns what changed. A changed node
// makes the rules as a whole doubtful.
func (p *Proxy) replan(f *family, in *informers, b batch) []plan.Change {
	names := b.services
	if b.all {
		node, podCIDRs := in.planNode(p.cfg.NodeName, f.name)
		f.node, f.needFull = node, true
		f.local, _ = p.cfg.local(f.name, podCIDRs) // validated
		for name := range f.plans {
			names[name] = struct{}{}
		}
		for _, name := range in.names() {
			names[name] = struct{}{}
		}
	}
	var changes []plan.Change
	for name := range names {
		c := plan.Change{Old: f.plans[name]}
		if svc, slices := in.service(name); svc != nil {
			c.New = plan.Of(svc, slices, f.node)
			f.plans[name] = c.New
		} else {
			delete(f.plans, name)
		}
		if c.Old != nil || c.New != nil {
			changes = append(changes, c)
		}
	}
	return changes
}

// lookCloser is the regular look at what others may have done to the kernel's rules. A
// full sync is its own check; where that would read too much, signs of a flush must do.
func (p *Proxy) lookCloser(ctx context.Context, f *family) {
	if time.Since(f.lastFull) > p.cfg.FullSyncPeriod || (plan.Snapshot{Services: f.plans}).Endpoints() <= largeCluster {
		f.needFull = true
		return
	}
	intact, err := f.backend.Intact(ctx)
	if err != nil || !intact {
		f.log.Info("the rules were flushed by somebody else", "err", err)
		f.needFull = true
	}
}

// apply gives one family's changes, or all of it, to the backend. After a failure nobody
// knows what the kernel holds, so the next sync is a full one (P45).
func (p *Proxy) apply(ctx context.Context, f *family, changes []plan.Change, b batch) {
	p.health.pending(f.name, b.since)
	start, full := time.Now(), f.needFull
	var report plan.Report
	var err error
	if full {
		report, err = f.backend.Full(ctx, p.snapshot(f))
	} else {
		report, err = f.backend.Change(ctx, changes)
	}
	if ctx.Err() != nil {
		return
	}
	p.metrics.synced(f, full, time.Since(start), report, err)
	if f.err = err; err != nil {
		f.failures++
		f.needFull = true
		f.log.Error("sync failed, will try again in full", "full", full, "failures", f.failures, "err", err)
		return
	}
	f.failures, f.needFull = 0, false
	if full {
		f.lastFull = time.Now()
	}
	f.log.Debug("synced", "full", full, "services", len(changes), "written", report.Written, "took", time.Since(start))
	p.health.updated(f.name)
	p.metrics.programmed(f.name, b.triggers, f.plans)
	p.cleanConntrack(f, changes, full)
}

// snapshot is the whole of what a family's backend has to make true.
func (p *Proxy) snapshot(f *family) plan.Snapshot {
	return plan.Snapshot{Services: f.plans, Local: f.local, NodePortIPs: p.nodePortIPs(f)}
}

// settled follows a sync after which the kernel is as it should be.
func (p *Proxy) settled(ctx context.Context, lookCloser bool) {
	select {
	case <-p.ready:
		if p.others && lookCloser {
			p.removeOtherModes(ctx)
		}
	default:
		p.removeOtherModes(ctx)
		close(p.ready)
	}
}

// sleep waits for d, and tells whether ctx is still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
