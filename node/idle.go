package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/sandbox"
)

// Every Pod has a volume with a token, and few look into it. A token costs a request, a
// mount a namespace; a program that is built into the agent wants neither. So a volume
// with a token that only built-in programs mount stays empty until somebody enters one
// of their containers (exec), or a program of the node takes their place.
//
// Kubernetes: fills all volumes before any container starts.

// idleVolumes names the volumes of a new Pod that nobody needs yet.
func (n *Node) idleVolumes(object *corev1.Pod) map[string]bool {
	idle := map[string]bool{}
	for i := range object.Spec.Volumes {
		for range tokenProjections(&object.Spec.Volumes[i]) {
			idle[object.Spec.Volumes[i].Name] = true
		}
	}
	if len(idle) == 0 {
		return nil
	}
	for _, containers := range [][]corev1.Container{object.Spec.InitContainers, object.Spec.Containers} {
		for _, c := range containers {
			if n.runsBuiltIn(c) {
				continue
			}
			for _, m := range c.VolumeMounts {
				delete(idle, m.Name)
			}
		}
	}
	return idle
}

func (n *Node) runsBuiltIn(c corev1.Container) bool {
	image, err := n.catalog.Find(c.Image)
	if err != nil {
		return false
	}
	builtIn, _ := n.catalog.Program(image, c)
	return builtIn != nil
}

// isIdle says whether a volume has no contents yet because nobody needs them.
func (p *pod) isIdle(volume string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle[volume]
}

// wakeVolumes fills the volumes that were idle, and has them follow what they are made of.
func (p *pod) wakeVolumes(ctx context.Context) error {
	p.following.Lock()
	defer p.following.Unlock()
	p.mu.Lock()
	idle := p.idle
	p.mu.Unlock()
	switch {
	case len(idle) == 0:
		return nil
	case p.leave == nil:
		return errors.New("the Pod has ended")
	}
	p.follow(ctx, references(p.latest(), nil))
	var volumes []*corev1.Volume
	for _, v := range p.volumes() {
		if idle[v.Name] {
			volumes = append(volumes, v)
		}
	}
	from := p.source(ctx)
	from.tokens = p.tokensFor(ctx, volumes)
	for _, v := range volumes {
		if err := p.fillVolume(v, from); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
		}
	}
	p.mu.Lock()
	p.idle = nil
	p.mu.Unlock()
	poke(p.refresh) // from now on the token is to be renewed
	return nil
}

// enter returns the place where the container's programs run. It is made when it is
// first needed.
func (r *run) enter(ctx context.Context) (*sandbox.Place, error) {
	r.entering.Lock()
	defer r.entering.Unlock()
	if r.place != nil {
		return r.place, nil
	}
	if r.left {
		return nil, errors.New("the container has ended")
	}
	if len(r.mounts) > 0 {
		if err := r.c.pod.wakeVolumes(ctx); err != nil {
			return nil, err
		}
	}
	config, err := r.placeConfig(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.c.makeTerminationFile(); err != nil {
		return nil, err
	}
	if r.group, err = r.c.pod.newGroup(&r.c.spec); err != nil {
		return nil, err
	}
	if r.group != nil {
		config.Cgroup = r.group.File()
	}
	place, err := r.box.NewPlace(config)
	if err != nil {
		return nil, errors.Join(err, r.removeGroup())
	}
	r.place = place
	return place, nil
}

func (r *run) placeConfig(ctx context.Context) (c sandbox.PlaceConfig, err error) {
	object, spec := r.c.pod.latest(), &r.c.spec
	c = sandbox.PlaceConfig{
		Name: podName(object) + "/" + spec.Name, Mounts: append(slices.Clone(r.mounts), r.c.terminationMount()...),
		BuiltIn: r.builtIn != nil, HostPID: object.Spec.HostPID,
		Root:    r.root,
		Devices: spec.SecurityContext != nil && ptr.Deref(spec.SecurityContext.Privileged, false),
	}
	switch {
	case ptr.Deref(object.Spec.ShareProcessNamespace, false):
		c.PIDs = r.box.SharedPIDs()
	case r.c.target != "" && !c.HostPID:
		c.PIDs, err = r.c.pod.processesOf(ctx, r.c.target)
	}
	return c, err
}

// looksIdle says whether all that a container mounts is idle.
func (p *pod) looksIdle(mounts []corev1.VolumeMount) bool {
	for _, m := range mounts {
		if !p.isIdle(m.Name) {
			return false
		}
	}
	return true
}
