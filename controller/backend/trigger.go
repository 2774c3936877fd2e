package backend

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// Triggers remembers when each Service and each of its Pods last changed, to tell the
// moment of the change that a write of endpoints answers. Proxies subtract it from
// their clock: that is the network programming latency.
type Triggers struct {
	mu sync.Mutex
	of map[loop.Name]triggers
}

type triggers struct {
	service time.Time
	pods    map[string]time.Time
}

// NewTriggers makes an empty memory.
func NewTriggers() *Triggers { return &Triggers{of: map[loop.Name]triggers{}} }

// Last is the earliest change since the previous call for the Service, or zero.
// A Pod changes when its readiness does; a Pod that is gone leaves no time behind.
func (t *Triggers) Last(svc *corev1.Service, pods []*corev1.Pod) time.Time {
	now := triggers{service: svc.CreationTimestamp.Time, pods: make(map[string]time.Time, len(pods))}
	for _, pod := range pods {
		now.pods[pod.Name] = pod.CreationTimestamp.Time
		if c := podstate.Condition(pod, corev1.PodReady); c != nil {
			now.pods[pod.Name] = c.LastTransitionTime.Time
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.of[loop.NameOf(svc)]
	t.of[loop.NameOf(svc)] = now
	if !known {
		// The Pods may be older than the Service: its own creation is what happened.
		return now.service
	}
	var first time.Time
	consider := func(at, seen time.Time) {
		if at.After(seen) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for name, at := range now.pods {
		consider(at, before.pods[name])
	}
	consider(now.service, before.service)
	return first
}

// Forget drops a Service that is gone.
func (t *Triggers) Forget(svc loop.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, svc)
}
