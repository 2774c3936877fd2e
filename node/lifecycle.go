package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// errGraceOver is why something is killed whose time to stop is over. Where there is
// another reason, nothing more is waited for.
var errGraceOver = errors.New("the grace period is over")

// leastGrace is what a program gets after its SIGTERM however long its preStop hook, or
// the containers that stop before it, took. Upstream's.
const leastGrace = 2 * time.Second

// graceOf is how long a container may take to stop.
func graceOf(object *corev1.Pod) time.Duration {
	if object.DeletionTimestamp != nil {
		return grace(object)
	}
	return time.Duration(ptr.Deref(object.Spec.TerminationGracePeriodSeconds, 30)) * time.Second
}

// care does what goes on beside a program: its postStart hook, then its probes. ctx
// ends when the program does or is to stop.
func (r *run) care(ctx context.Context) {
	select {
	case <-r.up:
	case <-ctx.Done():
		return
	}
	if h := r.c.postStart(); h != nil && r.last == nil {
		if err := r.hook(ctx, h); err != nil && ctx.Err() == nil {
			// Not why: that could tell everybody a server's secrets.
			r.c.event(corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
			r.c.stop("FailedPostStartHook", graceOf(r.c.pod.latest()))
			return
		}
		r.serve()
	}
	r.c.probeAll(ctx, &prober{node: r.c.pod.node.cfg.Host, podIP: r.c.pod.addresses()[0].String(), run: r})
}

// stopGently waits for the wish that the program stop. Then it runs the preStop hook,
// says terminate and, when kill ends, die. life ends with the program.
func (r *run) stopGently(life, stop, kill context.Context, terminate, die func()) {
	<-stop.Done()
	if life.Err() != nil || r.goesOn() {
		return
	}
	hooked, cancel := context.WithCancel(life)
	defer context.AfterFunc(kill, cancel)()
	defer cancel()
	if h := r.c.preStop(); h != nil && graceOf(r.c.pod.latest()) > 0 {
		if err := r.hook(hooked, h); err != nil && life.Err() == nil {
			r.c.event(corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
	}
	terminate()
	least := time.After(leastGrace)
	select {
	case <-kill.Done():
	case <-life.Done():
		return
	}
	if context.Cause(kill) == errGraceOver {
		select {
		case <-least:
		case <-life.Done():
		}
	}
	die()
}

func (c *container) postStart() *corev1.LifecycleHandler {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.spec.Lifecycle.PostStart
}

func (c *container) preStop() *corev1.LifecycleHandler {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.spec.Lifecycle.PreStop
}

// hook runs a lifecycle hook to its end. As upstream's, one by HTTP has done well
// whatever the answer is.
func (r *run) hook(ctx context.Context, h *corev1.LifecycleHandler) error {
	p := &prober{node: r.c.pod.node.cfg.Host, podIP: r.c.pod.addresses()[0].String(), run: r}
	switch {
	case h.Exec != nil:
		return p.exec(ctx, h.Exec.Command)
	case h.HTTPGet != nil:
		_, err := p.request(ctx, h.HTTPGet, &r.c.spec)
		return err
	case h.Sleep != nil:
		return sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
	default:
		return fmt.Errorf("invalid handler: %v", h)
	}
}
