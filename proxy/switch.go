package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"

	"orrery.example.org/proxy/ipvs"
)

// A running proxy goes over to another mode in three steps: the new mode's rules are
// completed beside the old ones, then they are what is kept up to date, then the old
// ones go. In between a packet meets both, and they agree: whichever translates its
// destination first does so for good, since the kernel asks for NAT once per connection.
// Connections that are there keep the translation that conntrack remembers. Who has used
// which endpoint (session affinity) is known to each mode's own rules alone.
//
// Kubernetes: kube-proxy has to be restarted for that. It removes the other mode's rules
// before it has read its first list, and Services are down until its own are complete.

// request asks the loop for another mode.
type request struct {
	mode *mode
	done chan error // gets the outcome; has room for it
}

// Mode is the mode whose rules serve.
func (p *Proxy) Mode() string { return p.mode.Load().name }

// SetMode moves a running proxy to another mode and returns when the rules of the former
// one are gone. No connection is lost, and none refused. If it fails, all is as before.
func (p *Proxy) SetMode(ctx context.Context, name string) error {
	m, err := modeOf(name)
	if err != nil {
		return err
	}
	r := request{m, make(chan error, 1)}
	select {
	case p.requests <- r:
	case <-ctx.Done():
		return fmt.Errorf("go over to mode %s: the proxy is busy or stopped: %w", name, ctx.Err())
	}
	select {
	case err = <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("go over to mode %s: the proxy has not finished: %w", name, ctx.Err())
	}
}

// exchange is the loop's part of SetMode.
func (p *Proxy) exchange(ctx context.Context, in *informers, to *mode) error {
	from := p.mode.Load()
	if to == from {
		return nil
	}
	old := make([]backend, len(p.families))
	for i, f := range p.families {
		old[i] = f.backend
		p.equip(f, to)
	}
	err := p.startBackends(ctx)
	if err == nil {
		p.sync(ctx, in, p.queue.take(), false)
		for _, f := range p.families {
			err = errors.Join(err, f.err)
		}
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		for i, f := range p.families {
			f.backend, old[i] = old[i], f.backend
			f.mode, f.needFull, f.err = from, true, nil // changes of the meantime are not in the old rules
		}
		p.queue.addAll()
		err = fmt.Errorf("go over to mode %s: %w", to.name, err)
	} else {
		p.mode.Store(to)
		p.metrics.forget(from.name)
		p.log.Info("the mode has changed", "from", from.name, "to", to.name)
	}
	for _, b := range old {
		closeBackend(b)
	}
	p.removeOtherModes(ctx)
	return err
}

// removeOtherModes removes what a proxy of another mode left behind (P40). It comes after
// the own rules are in place, so that at every moment some rules serve. What could not be
// removed is tried again with the next regular check.
func (p *Proxy) removeOtherModes(ctx context.Context) {
	err := cleanupBut(ctx, p.cfg.Host, p.mode.Load())
	p.others = err != nil
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, ipvs.ErrInUse):
		p.log.Info("the rules of another mode are still in use", "err", err)
	default:
		p.log.Error("cannot remove the rules of another mode", "err", err)
	}
}

// closeBackend gives back what a backend holds open. Its rules stay.
func closeBackend(b backend) {
	if c, ok := b.(io.Closer); ok {
		_ = c.Close()
	}
}
