package node

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/sandbox"
)

// Ephemeral containers come into a Pod that runs, to look into it (ctl debug). They run
// once, end at the latest with the Pod, and change nothing in what becomes of it.

// ephemeralList is the field of a Pod's spec that they are in.
const ephemeralList = "ephemeralContainers"

// addEphemeral takes in those that the newest version of the Pod has more. Called by one
// goroutine at a time.
func (p *pod) addEphemeral() {
	object, known := p.latest(), p.debuggers()
	specs := object.Spec.EphemeralContainers
	if len(specs) <= len(known) { // they are only ever appended
		return
	}
	all := slices.Clone(known)
	for _, spec := range specs[len(known):] {
		c := newContainer(p, corev1.Container(spec.EphemeralContainerCommon), ephemeralList, object.Status.EphemeralContainerStatuses)
		c.target = spec.TargetContainerName
		all = append(all, c)
	}
	p.mu.Lock()
	p.ephemeral = all
	p.mu.Unlock()
	poke(p.debug)
}

// debuggers are the Pod's ephemeral containers. Read only.
func (p *pod) debuggers() []*container {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ephemeral
}

// containers are all the Pod's containers.
func (p *pod) containers() []*container { return slices.Concat(p.main, p.init, p.debuggers()) }

// container finds a container by name; nil if there is none.
func (p *pod) container(name string) *container {
	all := p.containers()
	if i := slices.IndexFunc(all, func(c *container) bool { return c.spec.Name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// startEphemeral runs ephemeral containers as they come, until end is called, which
// returns when they have ended.
func (p *pod) startEphemeral(stop, kill context.Context) (end func()) {
	stop, cancel := context.WithCancel(stop)
	var running sync.WaitGroup
	running.Go(func() {
		for begun := 0; ; {
			all := p.debuggers()
			for _, c := range all[begun:] {
				running.Go(func() { c.supervise(stop, kill) })
			}
			begun = len(all)
			select {
			case <-p.debug:
			case <-stop.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		for _, c := range p.debuggers() {
			c.stop("", graceOf(p.latest()))
		}
		running.Wait()
	}
}

// processesOf is the PID namespace of a container of the Pod that runs.
func (p *pod) processesOf(ctx context.Context, name string) (*sandbox.PIDs, error) {
	if c := p.container(name); c != nil {
		if r := c.presentRun(); r != nil {
			place, err := r.enter(ctx)
			if err != nil {
				return nil, err
			}
			return place.PIDs(), nil
		}
	}
	return nil, fmt.Errorf("unable to find target container %s", name)
}

// presentRun is the run that goes on; nil if there is none.
func (c *container) presentRun() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.present
}
