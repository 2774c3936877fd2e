package loop

import (
	"sync"
	"time"
)

// What takes long for one change takes hardly longer for many, and while changes come in
// by the thousand each of them would start it again: a Service of 5,000 Pods that become
// ready one after the other. So a name that took long rests, in proportion; what changes
// meanwhile shares its next turn. Those that are quick never wait.
//
// Kubernetes: has a fixed period for it (--endpointslice-updates-batch-period), 0 by default.
const (
	quick     = 20 * time.Millisecond
	restTimes = 3
	longest   = 500 * time.Millisecond
)

// rests are the names that rest, and until when.
type rests[K comparable] struct {
	mu    sync.Mutex
	until map[K]time.Time
}

// took notes how long a name took.
func (r *rests[K]) took(key K, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d < quick {
		delete(r.until, key)
		return
	}
	r.until[key] = time.Now().Add(min(d*restTimes, longest))
}

// left is how long a name still rests.
func (r *rests[K]) left(key K) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.until[key]) // negative for those that are not there
}

// Unhurried has names rest that took long. It is called before Run.
func (l *Loop[K]) Unhurried() { l.rests = &rests[K]{until: map[K]time.Time{}} }
