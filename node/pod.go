package node

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/status"
)

// pod is the worker of one Pod. One goroutine (work) takes in new versions of the
// object and writes the status; another one (run) makes the sandbox and starts the
// containers, each of which has one of its own. Upstream counterpart: pod workers
// with the status manager, both for one Pod.
type pod struct {
	node     *Node
	uid      types.UID
	done     chan struct{} // closed when work has returned
	wake     chan struct{} // holds a token when there is something new to look at
	started  metav1.Time
	working  bool              // guarded by node.mu
	rejected *status.Rejection // set before work

	debug     chan struct{} // holds a token when there is a new ephemeral container
	refresh   chan struct{} // holds a token when an object that it is made of changed, or the Pod's own fields
	tokens    tokens
	following sync.Mutex // held while objects are followed or left
	leave     func()     // ends following; nil: none is followed

	mu         sync.Mutex
	object     *corev1.Pod // newest version known, from the watch or from a write of ours
	gone       bool        // deleted from the API
	overdue    bool        // its activeDeadlineSeconds have passed
	box        *sandbox.Sandbox
	addrs      []netip.Addr       // none yet, or one of each family of the node; never changed, but replaced
	cgroup     string             // "": there are no limits here; set with box
	references map[reference]bool // ConfigMaps and Secrets that are followed; replaced, not changed
	idle       map[string]bool    // volumes that are not filled yet (idle.go)
	init, main []*container       // never change
	ephemeral  []*container       // of which there may come more; replaced, not changed

	legacy *legacy // what goes on from before the agent's start; nil: nothing
	handed bool    // the shim has the sandbox as well; guarded by mu

	deleteSent bool // used by work only
}

func newPod(n *Node, object *corev1.Pod, addrs []netip.Addr, l *legacy) *pod {
	p := &pod{
		node: n, legacy: l, uid: object.UID, object: object, addrs: addrs, started: metav1.Now(),
		done: make(chan struct{}), wake: make(chan struct{}, 1),
		refresh: make(chan struct{}, 1), debug: make(chan struct{}, 1), idle: n.idleVolumes(object),
	}
	for _, spec := range object.Spec.InitContainers {
		p.init = append(p.init, newContainer(p, spec, "initContainers", object.Status.InitContainerStatuses))
	}
	for _, spec := range object.Spec.Containers {
		p.main = append(p.main, newContainer(p, spec, "containers", object.Status.ContainerStatuses))
	}
	p.addEphemeral()
	return p
}

// latest is the newest version of the object. Read only.
func (p *pod) latest() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

// update takes in a version of the object, unless it is older than the known one:
// the watch may lag behind what our own writes returned.
func (p *pod) update(object *corev1.Pod) {
	p.take(object)
	poke(p.wake)
}

// take returns the newest version, which object may be.
func (p *pod) take(object *corev1.Pod) *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !olderThan(object, p.object) {
		if !sameFields(object, p.object) {
			poke(p.refresh)
		}
		p.object = object
	}
	return p.object
}

func (p *pod) setGone() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	poke(p.wake)
}

func (p *pod) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// work is the Pod's life on this node: it runs, is told to stop, has stopped, is
// reported, is deleted. It returns when the object is gone from the API and nothing
// of it is left here, or when ctx is cancelled and nothing is left here.
func (p *pod) work(ctx context.Context) {
	stop, stopAll := context.WithCancel(ctx)
	kill, killAll := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopAll()
	defer killAll(nil)
	running := make(chan struct{})
	go func() {
		defer close(running)
		if p.sandbox() != nil || p.rejected == nil && !over(p.latest()) {
			p.run(stop, kill)
			p.teardown(ctx)
		}
	}()
	defer func() {
		killAll(nil)
		<-running
	}()

	p.settle(stop)
	ended := running // nil when it is known
	var retry <-chan time.Time
	for {
		select {
		case <-p.wake:
		case <-retry:
		case <-p.deadline(stop):
			p.endOverdue(stopAll, killAll)
		case <-ended:
			ended = nil
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return // whatever has ended has because of that, and is not to be told
		}
		if p.isGone() && ended == nil {
			p.removeFiles()
			return
		}
		p.obey(stop, stopAll, killAll)
		retry = nil
		if err := p.report(ctx, ended == nil); err != nil && ctx.Err() == nil {
			p.node.cfg.Log.Info("reporting a Pod, will try again", "pod", podName(p.latest()), "err", err)
			retry = time.After(time.Second)
		}
	}
}

// obey does what the newest version of the object asks for.
func (p *pod) obey(stop context.Context, stopAll func(), killAll func(why error)) {
	object := p.latest()
	switch {
	case p.isGone(): // by force, without a grace period
		killAll(nil)
		stopAll()
	case object.DeletionTimestamp != nil && stop.Err() == nil:
		p.announceStop()
		if grace(object) == 0 {
			killAll(nil)
		}
		stopAll()
		time.AfterFunc(grace(object), func() { killAll(errGraceOver) })
	}
	p.addEphemeral()
	for i, c := range p.main {
		c.setImage(object.Spec.Containers[i].Image)
	}
}

func (p *pod) removeFiles() {
	if err := os.RemoveAll(p.dir()); err != nil {
		p.node.cfg.Log.Error("removing a Pod's files", "pod", podName(p.latest()), "err", err)
	}
}

// settle gives the containers a moment to come up, so that the first report tells
// it all. Readers of the status would rather wait than be told twice.
func (p *pod) settle(ctx context.Context) {
	const moment = 50 * time.Millisecond
	patience := time.After(moment)
	for _, c := range p.main {
		select {
		case <-c.settled:
		case <-patience:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (p *pod) dir() string { return filepath.Join(p.node.podsDir(), string(p.uid)) }

func (p *pod) event(eventType, reason, message string) {
	p.node.events.Event(p.latest(), eventType, reason, message)
}

func podName(p *corev1.Pod) string { return p.Namespace + "/" + p.Name }

// grace is how long a deleted Pod may take to stop.
func grace(p *corev1.Pod) time.Duration {
	if g := p.DeletionGracePeriodSeconds; g != nil {
		return time.Duration(*g) * time.Second
	}
	return 0
}
