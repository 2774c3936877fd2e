package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/cgroup"
	"orrery.example.org/node/sandbox"
)

// limitsAnnotation of the Node says whether the limits of Pods hold there, and why not.
// ctl describe node shows it.
//
// Kubernetes: a kubelet that cannot have cgroups does not start.
const limitsAnnotation = "orrery.example.org/resource-limits"

// findLimits finds out whether the machine lets the agent bound what Pods use, and says it.
func (n *Node) findLimits() string {
	tree, err := cgroup.Find()
	if err != nil {
		n.cfg.Log.Info("limits of Pods do not hold on this machine", "err", err)
		return fmt.Sprintf("not enforced: %v", err)
	}
	n.limits = tree
	return "enforced by cgroups in " + tree.Dir()
}

func (n *Node) dropLimits() {
	if n.limits != nil {
		n.limits.Close()
	}
}

// removeLeftovers removes what is left of Pods that an earlier run of the agent had.
func (n *Node) removeLeftovers(ctx context.Context) error {
	keep, err := n.keepers(ctx)
	if err != nil {
		return err
	}
	pods, err := os.ReadDir(n.podsDir())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	errs := []error{sandbox.RemoveLeftovers(n.podsDir(), keep)}
	for _, pod := range pods { // each directory is named by the Pod's uid
		if _, kept := keep[pod.Name()]; n.limits != nil && !kept {
			errs = append(errs, n.limits.RemovePod(pod.Name()))
		}
	}
	return errors.Join(errs...)
}

// makeCgroup makes the cgroup that bounds the Pod as a whole.
func (p *pod) makeCgroup() error {
	if p.node.limits == nil {
		return nil
	}
	object := p.latest()
	dir, err := p.node.limits.Pod(object, cgroup.ForPod(object, int64(p.node.cfg.PodMaxPIDs)))
	if err != nil {
		return fmt.Errorf("unable to ensure pod container exists: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cgroup = dir
	return nil
}

// newGroup makes the cgroup of one run of a container; nil: there are no limits here.
func (p *pod) newGroup(spec *corev1.Container) (*cgroup.Group, error) {
	p.mu.Lock()
	dir := p.cgroup
	p.mu.Unlock()
	if dir == "" {
		return nil, nil
	}
	return cgroup.NewGroup(dir, spec.Name, cgroup.ForContainer(spec))
}

// outOfMemory says whether programs of the container were killed for want of memory.
func (r *run) outOfMemory() bool {
	r.entering.Lock()
	defer r.entering.Unlock()
	return r.group != nil && r.group.OOMKilled()
}

func (r *run) removeGroup() error {
	if r.group == nil {
		return nil
	}
	return r.group.Remove()
}
