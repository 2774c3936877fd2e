package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/workload"
)

// Restarting waits upstream's times.
const (
	firstBackoff   = 10 * time.Second
	longestBackoff = 5 * time.Minute
	healthyRun     = 10 * time.Minute // after which the back-off starts anew
)

// backoff is a waiting time that grows from try to try.
type backoff time.Duration

func (b *backoff) next() time.Duration {
	*b = min(max(*b*2, backoff(firstBackoff)), backoff(longestBackoff))
	return time.Duration(*b)
}

// pause waits. A change of the image or the end of ctx cuts it short, and it says so.
func (c *container) pause(ctx context.Context, changed <-chan struct{}, d time.Duration) (cut bool) {
	select {
	case <-time.After(d):
		return false
	case <-changed:
	case <-ctx.Done():
	}
	return true
}

// awaitConfig waits until it makes sense to try again to make the container.
func (c *container) awaitConfig(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-c.retry:
	case <-time.After(firstBackoff):
	case <-changed:
	case <-ctx.Done():
	}
}

// awaitImage goes through the two states of a pull that fails.
func (c *container) awaitImage(stop context.Context, changed <-chan struct{}, failure error, backoff time.Duration) {
	image := c.current().Image
	switch {
	case errors.Is(failure, workload.ErrInvalidName):
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", image, failure)
		c.refuseImage("InspectFailed", "InvalidImageName", message)
		c.pause(stop, changed, backoff)
		return
	case c.spec.ImagePullPolicy == corev1.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", image)
		c.refuseImage("ErrImageNeverPull", "ErrImageNeverPull", message)
		c.pause(stop, changed, backoff)
		return
	}
	c.event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", image))
	c.event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", image, failure))
	c.waiting("ErrImagePull", failure.Error(), "Failed", "Error: ErrImagePull")
	c.settle()
	if c.pause(stop, changed, time.Second) { // long enough to be seen
		return
	}
	message := fmt.Sprintf("Back-off pulling image %q", image)
	c.event(corev1.EventTypeNormal, "BackOff", message)
	c.waiting("ImagePullBackOff", fmt.Sprintf("%s: ErrImagePull: %v", message, failure), "Failed", "Error: ImagePullBackOff")
	c.pause(stop, changed, backoff)
}

// refuseImage says why an image is not even pulled.
func (c *container) refuseImage(event, reason, message string) {
	c.event(corev1.EventTypeWarning, event, message)
	c.waiting(reason, message, "Failed", "Error: "+reason)
	c.settle()
}

func (c *container) crashLoop(stop context.Context, changed <-chan struct{}, backoff time.Duration) {
	object := c.pod.latest()
	who := fmt.Sprintf("%s_%s(%s)", object.Name, object.Namespace, object.UID)
	c.mu.Lock()
	c.status.LastTerminationState = c.status.State
	c.mu.Unlock()
	c.waiting("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", backoff, c.spec.Name, who),
		"BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.spec.Name, who))
	c.pause(stop, changed, backoff)
}
