package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/node/console"
	"orrery.example.org/node/shim"
	"orrery.example.org/node/status"
	"orrery.example.org/node/workload"
)

// container is one container of a Pod over all its runs.
type container struct {
	pod  *pod
	list string           // field of the Pod's spec that it is in
	spec corev1.Container // as first seen; never changes

	target string // of an ephemeral container: whose processes it sees; "": its own

	hasStarted chan struct{} // closed when it was Started for the first time
	settled    chan struct{} // closed when it came up or failed for the first time
	retry      chan struct{} // holds a token when something changed that it is made of

	last *predecessor // the run to go on with; nil: none

	mu       sync.Mutex
	status   corev1.ContainerStatus    // status.Image is the one wanted, which an update of the Pod may change
	console  *console.Console          // of the present run, or the last one
	previous *console.Log              // of the run before
	stopRun  func(grace time.Duration) // ends the present run; nil: none
	present  *run                      // nil: none
	changed  chan struct{}             // closed when the image was changed
	probed   bool                      // what the readiness probe says
	serving  bool                      // the program says that it can serve
}

// newContainer starts from what an earlier run of the agent reported, if anything.
func newContainer(p *pod, spec corev1.Container, list string, reported []corev1.ContainerStatus) *container {
	c := &container{
		pod: p, list: list, spec: spec, changed: make(chan struct{}),
		hasStarted: make(chan struct{}), settled: make(chan struct{}), retry: make(chan struct{}, 1),
	}
	c.status = corev1.ContainerStatus{Name: spec.Name, Image: spec.Image}
	for _, old := range reported {
		if old.Name == spec.Name {
			c.status = lost(old)
			c.status.Image = spec.Image
			c.inherit(old)
		}
	}
	if c.status.ContainerID == "" {
		c.inherit(corev1.ContainerStatus{}) // nothing was reported
	}
	if c.status.State == (corev1.ContainerState{}) {
		reason := "ContainerCreating"
		if list == "containers" && len(p.object.Spec.InitContainers) > 0 || list == "initContainers" {
			reason = "PodInitializing"
		}
		c.status.State.Waiting = &corev1.ContainerStateWaiting{Reason: reason}
	}
	return c
}

// lost is the status of a container that ran when the agent was last seen.
func lost(old corev1.ContainerStatus) corev1.ContainerStatus {
	old.Ready, old.Started = false, nil
	if old.State.Running != nil {
		old.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 137, Reason: "ContainerStatusUnknown", ContainerID: old.ContainerID,
			Message:   "The container could not be located when the node's agent was restarted",
			StartedAt: old.State.Running.StartedAt, FinishedAt: metav1.Now(),
		}}
	}
	return old
}

// supervise runs the container again and again, as its Pod's restart policy wants,
// until stop is cancelled. kill cuts the grace period short.
func (c *container) supervise(stop, kill context.Context) {
	if c.last != nil {
		_, err := c.resume(stop, kill)
		if err != nil {
			return
		}
	}
	if ended := c.current().State.Terminated; ended != nil && !c.restart(ended.ExitCode) {
		c.settle()
		return
	}
	var pulling, crashing backoff
	for stop.Err() == nil {
		changed := c.imageChange()
		image, err := c.findImage()
		if err != nil {
			c.awaitImage(stop, changed, err, pulling.next())
			continue
		}
		began := time.Now()
		code, err := c.runOnce(stop, kill, image)
		c.settle()
		switch {
		case stop.Err() != nil, errors.Is(err, shim.ErrLeft):
			return
		case err != nil: // it never ran
			c.waiting(createReason(err), err.Error(), "Failed", "Error: "+err.Error())
			c.awaitConfig(stop, changed)
			continue
		case !c.restart(code):
			return
		}
		if time.Since(began) > healthyRun {
			crashing = 0
		}
		if crashing > 0 { // the first restart comes at once
			c.crashLoop(stop, changed, time.Duration(crashing))
		}
		crashing.next()
	}
}

// restart says whether an exit code calls for another run.
func (c *container) restart(code int32) bool {
	policy := c.pod.latest().Spec.RestartPolicy
	switch {
	case c.list == ephemeralList:
		return false
	case status.IsSidecar(&c.spec):
		return true
	case c.list == "initContainers":
		return code != 0 && policy != corev1.RestartPolicyNever
	default:
		return policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && code != 0
	}
}

func (c *container) findImage() (workload.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pod.node.catalog.Find(c.status.Image)
}

// waiting puts the container into a waiting state and tells it in an event.
func (c *container) waiting(reason, message, event, note string) {
	c.mu.Lock()
	c.status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	c.status.Ready = false
	c.mu.Unlock()
	c.event(corev1.EventTypeWarning, event, note)
	poke(c.pod.wake)
}

// current is the container's status.
func (c *container) current() corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.status.DeepCopy()
}

func (c *container) succeeded() bool {
	s := c.current().State.Terminated
	return s != nil && s.ExitCode == 0
}

// setImage takes an update of the Pod. A running container is restarted.
func (c *container) setImage(image string) {
	c.mu.Lock()
	same := c.status.Image == image
	if !same {
		c.status.Image = image
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.mu.Unlock()
	if !same {
		c.stop(fmt.Sprintf("Container %s definition changed, will be restarted", c.spec.Name), graceOf(c.pod.latest()))
	}
}

func (c *container) imageChange() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// stop ends the present run, if there is one. why, unless empty, goes into an event.
func (c *container) stop(why string, grace time.Duration) {
	c.mu.Lock()
	stopRun := c.stopRun
	c.mu.Unlock()
	if stopRun == nil {
		return
	}
	if why != "" {
		c.event(corev1.EventTypeNormal, "Killing", why)
	}
	stopRun(grace)
}

// settle says that the container came up or failed.
func (c *container) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	closeOnce(c.settled)
}

// closeOnce closes a channel unless it is closed. The caller keeps others from doing
// so at the same time.
func closeOnce(ch chan struct{}) {
	select {
	case <-ch:
	default:
		close(ch)
	}
}

func (c *container) event(eventType, reason, message string) {
	c.pod.node.events.Event(containerRef(c.pod.latest(), c.list, c.spec.Name), eventType, reason, message)
}
