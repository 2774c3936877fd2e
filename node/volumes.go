package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/volume"
)

// volumePace is the time until volumes are tried again, upstream's.
type volumePace time.Duration

func (p *volumePace) next() time.Duration {
	*p = min(max(*p*2, volumePace(500*time.Millisecond)), volumePace(2*time.Minute+2*time.Second))
	return time.Duration(*p)
}

// followObjects watches what the Pod refers to until the returned function is called.
func (p *pod) followObjects(ctx context.Context) (leave func()) {
	p.following.Lock()
	defer p.following.Unlock()
	p.leave = func() {
		p.following.Lock()
		defer p.following.Unlock()
		for ref := range p.followed() {
			p.node.objects.leave(ref, p.refresh)
		}
		p.leave = nil
	}
	p.follow(ctx, references(p.latest(), p.idle))
	return p.leave
}

// follow watches these objects, too; p.following is held.
func (p *pod) follow(ctx context.Context, refs map[reference]bool) {
	for ref := range refs {
		p.node.objects.follow(ctx, ref, p.refresh) // following twice is following once
	}
	p.mu.Lock()
	p.references = refs
	p.mu.Unlock()
}

// followed is what is watched for the Pod.
func (p *pod) followed() map[reference]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.references
}

// setupVolumes fills the Pod's volumes, as often as it takes: an object that is missing
// holds the Pod up until it appears.
func (p *pod) setupVolumes(ctx context.Context) bool {
	for retry := volumePace(0); ; {
		if p.fillVolumes(ctx) {
			return true
		}
		select {
		case <-p.refresh:
		case <-time.After(retry.next()):
		case <-ctx.Done():
			return false
		}
	}
}

// fillVolumes makes what the volumes hold what it should be, and tells of each that
// this cannot be done for.
func (p *pod) fillVolumes(ctx context.Context) bool {
	volumes := slices.DeleteFunc(p.volumes(), func(v *corev1.Volume) bool { return p.isIdle(v.Name) })
	if len(volumes) == 0 {
		return true
	}
	from, ok := p.source(ctx), true
	from.tokens = p.tokensFor(ctx, volumes)
	for _, v := range volumes {
		if err := p.fillVolume(v, from); err != nil && ctx.Err() == nil {
			p.event(corev1.EventTypeWarning, "FailedMount", fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", v.Name, err))
			ok = false
		}
	}
	return ok
}

// volumes lists the Pod's volumes. Read only.
func (p *pod) volumes() []*corev1.Volume {
	spec := &p.latest().Spec
	all := make([]*corev1.Volume, len(spec.Volumes))
	for i := range spec.Volumes {
		all[i] = &spec.Volumes[i]
	}
	return all
}

func (p *pod) fillVolume(v *corev1.Volume, from source) error {
	switch {
	case volume.HasContents(&v.VolumeSource):
		payload, err := volume.Contents(&v.VolumeSource, from)
		if err != nil {
			return err
		}
		return volume.Write(p.volumeDir(v), payload, p.volumeGroup())
	case v.EmptyDir != nil:
		dir := p.volumeDir(v)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return volume.Share(dir, p.volumeGroup())
	case v.HostPath != nil:
		return volume.HostPath(v.HostPath)
	}
	return errors.New("this node knows volumes of type emptyDir, configMap, secret, downwardAPI, projected and hostPath only")
}

// volumeDir is where a volume lies on the node.
func (p *pod) volumeDir(v *corev1.Volume) string {
	if v.HostPath != nil {
		return v.HostPath.Path
	}
	return filepath.Join(p.dir(), "volumes", v.Name)
}

// memoryVolumes lists the volumes that are held in memory.
func (p *pod) memoryVolumes() (all []sandbox.Memory) {
	spec := p.latest().Spec
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory {
			m := sandbox.Memory{Dir: p.volumeDir(v)}
			if v.EmptyDir.SizeLimit != nil {
				m.Size = v.EmptyDir.SizeLimit.Value()
			}
			all = append(all, m)
		}
	}
	return all
}

// keepFresh lets volumes follow the objects that they are made of, and renews their
// tokens, until ctx ends.
// A container that could not be made for want of them is tried again.
//
// Kubernetes: kubelet looks once a minute or so; here a change arrives at once.
func (p *pod) keepFresh(ctx context.Context) {
	for {
		due, stop := p.tokens.due()
		select {
		case <-due:
			p.fillVolumes(ctx)
		case <-p.refresh:
			p.fillVolumes(ctx) // where an object has gone, the files stay
			for _, c := range p.containers() {
				poke(c.retry)
			}
		case <-ctx.Done():
			stop()
			return
		}
		stop()
	}
}

// mounts is where a container has which volumes. env is its environment, which
// subPathExpr may refer to.
func (p *pod) mounts(spec *corev1.Container, env []string) ([]sandbox.Mount, error) {
	volumes := p.latest().Spec.Volumes
	var all []sandbox.Mount
	for _, m := range spec.VolumeMounts {
		i := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			return nil, fmt.Errorf("no volume for the volumeMount %q of container %q", m.Name, spec.Name)
		}
		v := &volumes[i]
		subPath := m.SubPath
		if m.SubPathExpr != "" {
			subPath = expand(m.SubPathExpr, valuesOf(env))
		}
		all = append(all, sandbox.Mount{
			Source: p.volumeDir(v), SubPath: subPath, Target: m.MountPath,
			ReadOnly: m.ReadOnly || volume.HasContents(&v.VolumeSource),
		})
	}
	return all, nil
}

// sameFields says whether two versions of a Pod agree in what the downward API shows
// and updates may change.
func sameFields(a, b *corev1.Pod) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}
