package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// needsCare says whether there is anything to do beside the container's program.
func (c *container) needsCare() bool {
	return c.spec.StartupProbe != nil || c.spec.ReadinessProbe != nil || c.spec.LivenessProbe != nil || c.postStart() != nil
}

// probeAll runs a container's probes: the startup probe first, alone, then the
// others side by side.
func (c *container) probeAll(ctx context.Context, p *prober) {
	c.mu.Lock()
	started, ready := *c.status.Started, c.probed // as an earlier run of the agent left it
	c.mu.Unlock()
	if c.spec.StartupProbe != nil && !started && !c.awaitStartup(ctx, p) {
		return
	}
	var probing sync.WaitGroup
	defer probing.Wait()
	if readiness := c.spec.ReadinessProbe; readiness != nil {
		probing.Go(func() {
			probe(ctx, readiness, ready, c.checker("Readiness", p, readiness), func(ok bool, _ error) bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.probed = ok
				c.setReady()
				return true
			})
		})
	}
	if liveness := c.spec.LivenessProbe; liveness != nil {
		probing.Go(func() {
			probe(ctx, liveness, true, c.checker("Liveness", p, liveness), func(bool, error) bool {
				c.stop(fmt.Sprintf("Container %s failed liveness probe, will be restarted", c.spec.Name), c.graceAfter(liveness))
				return false
			})
		})
	}
}

// awaitStartup probes until the container has started or has failed to so often
// that it is restarted.
func (c *container) awaitStartup(ctx context.Context, p *prober) (started bool) {
	startup := c.spec.StartupProbe
	failures, check := int32(0), c.checker("Startup", p, startup)
	limit := startup.FailureThreshold
	if limit == 0 {
		limit = 3
	}
	probing, cancel := context.WithCancel(ctx)
	defer cancel()
	counting := func(ctx context.Context) error {
		err := check(ctx)
		if err != nil {
			if failures++; failures >= limit {
				cancel()
			}
		}
		return err
	}
	probe(probing, startup, false, counting, func(ok bool, _ error) bool {
		started = ok
		return false
	})
	if started {
		c.mu.Lock()
		c.setStarted(true)
		c.mu.Unlock()
	} else if ctx.Err() == nil {
		c.stop(fmt.Sprintf("Container %s failed startup probe, will be restarted", c.spec.Name), c.graceAfter(startup))
	}
	return started
}

// graceAfter is how long a container may take to stop that a probe gave up on.
func (c *container) graceAfter(p *corev1.Probe) time.Duration {
	if g := p.TerminationGracePeriodSeconds; g != nil {
		return time.Duration(*g) * time.Second
	}
	return graceOf(c.pod.latest())
}

// checker makes one probe's check, which tells each failure in an event.
func (c *container) checker(kind string, p *prober, handler *corev1.Probe) func(context.Context) error {
	return func(ctx context.Context) error {
		err := p.check(ctx, handler, &c.spec)
		if err != nil {
			c.event(corev1.EventTypeWarning, "Unhealthy", kind+" probe failed: "+err.Error())
		}
		return err
	}
}
