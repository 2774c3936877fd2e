package node

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/status"
)

// run makes the sandbox and runs the containers until all have ended: by themselves
// or because stop, and after the grace period kill, was cancelled.
func (p *pod) run(stop, kill context.Context) {
	defer p.followObjects(stop)()
	if p.sandbox() != nil { // from before the agent's start
		p.takeUp(stop)
	} else if !p.setupVolumes(stop) || !p.setup(stop) {
		return
	}
	refreshing, stopRefreshing := context.WithCancel(stop)
	var refresher sync.WaitGroup
	defer refresher.Wait()
	defer stopRefreshing()
	refresher.Go(func() { p.keepFresh(refreshing) })
	defer p.startEphemeral(stop, kill)()

	var sidecars []*sidecar
	defer func() { // they do not keep a Pod running, and outlive those that came after them
		for _, s := range slices.Backward(sidecars) {
			s.stop()
		}
	}()
	for _, c := range p.init {
		if !status.IsSidecar(&c.spec) {
			c.supervise(stop, kill)
			if stop.Err() != nil && !p.goesOn() || !c.succeeded() {
				return
			}
			continue
		}
		s := startSidecar(stop, kill, c)
		sidecars = append(sidecars, s)
		select {
		case <-c.hasStarted:
		case <-stop.Done():
			if !p.goesOn() {
				return
			}
		}
	}
	var mains sync.WaitGroup
	for _, c := range p.main {
		mains.Go(func() { c.supervise(stop, kill) })
	}
	mains.Wait()
}

// sidecar is an init container that runs as long as its Pod.
type sidecar struct {
	c        *container
	cancel   func()
	finished chan struct{}
}

// startSidecar starts one. It runs until it is stopped, even where the Pod is to stop.
func startSidecar(stop, kill context.Context, c *container) *sidecar {
	ctx, cancel := context.WithCancel(context.WithoutCancel(stop))
	s := &sidecar{c: c, cancel: cancel, finished: make(chan struct{})}
	go func() {
		defer close(s.finished)
		c.supervise(ctx, kill)
	}()
	return s
}

// stop returns when the sidecar has ended.
func (s *sidecar) stop() {
	s.cancel()
	s.c.stop("", graceOf(s.c.pod.latest())) // begins its grace period
	<-s.finished
}

// deadline fires when a running Pod has been active for longer than it may.
func (p *pod) deadline(stop context.Context) <-chan time.Time {
	object := p.latest()
	limit := object.Spec.ActiveDeadlineSeconds
	if limit == nil || stop.Err() != nil || p.rejected != nil || over(object) {
		return nil
	}
	started := p.started.Time
	if object.Status.StartTime != nil { // maybe before the agent did
		started = object.Status.StartTime.Time
	}
	return time.After(time.Until(started.Add(time.Duration(*limit) * time.Second)))
}

// endOverdue stops a Pod that has been active for too long. It will have failed.
func (p *pod) endOverdue(stopAll func(), killAll func(error)) {
	p.mu.Lock()
	p.overdue = true
	p.mu.Unlock()
	p.event(corev1.EventTypeNormal, status.DeadlineExceeded, status.DeadlineMessage)
	p.announceStop()
	stopAll()
	time.AfterFunc(graceOf(p.latest()), func() { killAll(errGraceOver) })
}

func (p *pod) announceStop() {
	for _, c := range p.containers() {
		if c.current().State.Running != nil {
			c.event(corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
		}
	}
}
