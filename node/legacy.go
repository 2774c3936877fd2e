package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/node/network"
	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/shim"
)

// What an agent leaves behind is its successor's, where the parent of containers'
// programs is a shim: it lists what goes on, takes over what belongs to Pods that the API
// still has, and ends the rest.

// legacy is what goes on of a Pod that an earlier run of the agent had.
type legacy struct {
	dir     string
	files   []*os.File             // the sandbox's; nil: it has gone
	mounts  map[string]*os.File    // of the runs that go on, by their id
	runs    map[string]predecessor // by container
	damaged map[string]error       // records that cannot be read, by container
}

// predecessor is a container's last run.
type predecessor struct {
	shim.Record
	note note
}

// note is what the agent wants to know again of a run.
type note struct {
	Status    corev1.ContainerStatus // as it began
	Addresses []netip.Addr           // the Pod's
	Root      *sandbox.Root
}

// openShim finds or starts the shim, or ends the one of an earlier configuration.
func (n *Node) openShim(ctx context.Context) (err error) {
	if n.cfg.ContainerParent != parentShim {
		return shim.End(ctx, n.cfg.StateDir)
	}
	if n.shim, err = shim.Open(ctx, n.cfg.StateDir, n.cfg.Log); err != nil {
		return err
	}
	list, err := n.shim.List(ctx)
	if err != nil {
		return err
	}
	pods, err := os.ReadDir(n.podsDir())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, pod := range pods { // each directory is named by the Pod's uid
		dir := filepath.Join(n.podsDir(), pod.Name())
		if l := n.inspect(ctx, dir, list); l != nil {
			n.legacies[types.UID(pod.Name())] = l
		}
	}
	for _, dir := range list.Pods {
		if n.legacies[types.UID(filepath.Base(dir))] == nil { // somebody removed its directory, or its records
			n.drop(dir)
		}
	}
	return nil
}

// inspect finds out what there is of a Pod. Where the shim has lost the sandbox, as after
// a reboot, that is how its containers ended before.
func (n *Node) inspect(ctx context.Context, dir string, list shim.List) *legacy {
	l := &legacy{dir: dir, runs: map[string]predecessor{}}
	if slices.Contains(list.Pods, dir) {
		var err error
		if l.files, l.mounts, err = n.shim.Take(ctx, dir); err != nil {
			n.cfg.Log.Warn("ending containers that cannot be taken over", "pod", dir, "err", err)
			n.drop(dir)
		}
	}
	// Read afterwards: what does not go on by now has its end in the record.
	var records map[string]shim.Record
	records, l.damaged = shim.Records(dir)
	if len(records)+len(l.damaged) == 0 {
		l.close()
		return nil
	}
	for name, r := range records {
		p := predecessor{Record: r}
		if err := json.Unmarshal(r.Note, &p.note); err != nil {
			l.damaged[name] = err
			continue
		}
		l.runs[name] = p
	}
	for _, run := range list.Runs {
		known := slices.ContainsFunc(slices.Collect(maps.Values(l.runs)), func(p predecessor) bool { return p.ID == run.ID })
		if run.Pod == dir && !known { // its record is damaged
			if err := n.shim.Kill(ctx, run.ID); err != nil {
				n.cfg.Log.Error("ending a container that nobody knows", "pod", dir, "err", err)
			}
		}
	}
	return l
}

// keepers are the processes that stay of each Pod that is taken over, by its uid.
func (n *Node) keepers(ctx context.Context) (map[string][]int, error) {
	if n.shim == nil {
		return nil, nil
	}
	list, err := n.shim.List(ctx)
	if err != nil {
		return nil, err
	}
	keep := map[string][]int{}
	for uid, l := range n.legacies {
		keep[string(uid)] = nil
		for _, run := range list.Runs {
			if run.Pod == l.dir {
				keep[string(uid)] = append(keep[string(uid)], run.PID)
			}
		}
	}
	return keep, nil
}

// links are the network links of Pods that are taken over.
func (n *Node) links() map[string]bool {
	keep := map[string]bool{}
	for uid, l := range n.legacies {
		keep[network.LinkName(string(uid))] = l.files != nil
	}
	return keep
}

// abandonRest ends what belongs to no Pod of the API.
func (n *Node) abandonRest(known cache.Store) {
	have := map[types.UID]bool{}
	for _, obj := range known.List() {
		have[obj.(*corev1.Pod).UID] = true
	}
	for uid := range n.legacies {
		if !have[uid] {
			n.abandon(uid)
		}
	}
}

// abandon ends what goes on of a Pod, and removes all there is of it.
func (n *Node) abandon(uid types.UID) {
	l := n.legacies[uid]
	if l == nil {
		return
	}
	delete(n.legacies, uid)
	l.close()
	n.drop(l.dir)
	errs := []error{n.network.Detach(network.LinkName(string(uid))), sandbox.RemoveLeftover(l.dir)}
	if n.limits != nil {
		errs = append(errs, n.limits.RemovePod(string(uid)))
	}
	if err := errors.Join(errs...); err != nil {
		n.cfg.Log.Error("removing what belongs to no Pod", "uid", uid, "err", err)
	}
}

// staying is how many Pods go on without the agent.
func (n *Node) staying() int {
	if n.shim == nil {
		return 0
	}
	list, err := n.shim.List(context.Background())
	if err != nil {
		return 0 // it has gone, and they with it
	}
	return len(list.Pods)
}

// leaveShim is the agent's end: it says what goes on, or ends a shim that has nothing.
func (n *Node) leaveShim() {
	for _, l := range n.legacies { // of an agent that ended before it took them over
		l.close()
	}
	if n.shim == nil {
		return
	}
	if pods := n.staying(); pods > 0 {
		n.cfg.Log.Info(fmt.Sprintf("the containers of %d Pods go on without the agent; kill %s ends them", pods, n.shim.PID()))
		return
	}
	if err := shim.End(context.Background(), n.cfg.StateDir); err != nil {
		n.cfg.Log.Error("ending the shim", "err", err)
	}
}

// drop has the shim end and forget a Pod.
func (n *Node) drop(dir string) {
	if n.shim == nil {
		return
	}
	if err := n.shim.Drop(context.Background(), dir); err != nil { // it is on this machine
		n.cfg.Log.Error("ending containers", "pod", dir, "err", err)
	}
}

func (l *legacy) close() {
	for _, f := range slices.Concat(l.files, slices.Collect(maps.Values(l.mounts))) {
		_ = f.Close() // of namespaces
	}
	l.files, l.mounts = nil, nil
}

// addresses are the Pod's, as they were noted. They may not have been reported.
func (l *legacy) addresses(pod *corev1.Pod) (addrs []netip.Addr) {
	if l != nil {
		for _, p := range l.runs {
			if len(p.note.Addresses) > 0 {
				return p.note.Addresses
			}
		}
	}
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// inherit makes the Pod's sandbox the one that goes on.
func (p *pod) inherit() error {
	if p.legacy.files == nil {
		return nil // there is none
	}
	box, err := sandbox.Restore(p.sandboxConfig(), p.legacy.files)
	p.legacy.files = nil // it owns them
	if err != nil {
		return err
	}
	p.box, p.handed = box, true
	return p.makeCgroup()
}

// inherit makes the container's last run the one that goes on, or has ended meanwhile,
// unless its end was reported.
func (c *container) inherit(reported corev1.ContainerStatus) {
	l := c.pod.legacy
	if l == nil || c.list == ephemeralList {
		return
	}
	last, ok := l.runs[c.spec.Name]
	if !ok || reported.RestartCount > last.note.Status.RestartCount || endReported(reported, last.note.Status.ContainerID) {
		return
	}
	status := last.note.Status
	if reported.ContainerID == status.ContainerID {
		status.Ready, status.Started = reported.Ready, reported.Started
	}
	if last.Exit == nil && l.mounts[last.ID] == nil {
		c.status = lost(status)
		return
	}
	c.status, c.last = status, &last
}

func endReported(s corev1.ContainerStatus, id string) bool {
	for _, state := range []corev1.ContainerState{s.State, s.LastTerminationState} {
		if state.Terminated != nil && state.Terminated.ContainerID == id {
			return true
		}
	}
	return false
}

// goesOn says whether any container of the Pod runs from before.
func (p *pod) goesOn() bool {
	return slices.ContainsFunc(p.main, func(c *container) bool { return c.last != nil })
}

// tellDamage tells of containers whose records could not be read.
func (p *pod) tellDamage() {
	if p.legacy == nil {
		return
	}
	for name, err := range p.legacy.damaged {
		if c := p.container(name); c != nil {
			c.event(corev1.EventTypeWarning, "ContainerStatusUnknown", fmt.Sprintf(
				"The node's record of container %s is damaged, so that it was killed: %v", name, err))
		}
	}
}
