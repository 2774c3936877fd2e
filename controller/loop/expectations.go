package loop

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// expectationsTimeout is how long writes may stay unseen before a loop acts again.
// Only a bug or a watch that skipped an event gets here.
const expectationsTimeout = 5 * time.Minute

// Expectations remember what a loop has written and not yet seen in its cache.
//
// Without them a ReplicaSet of three would create three Pods, be woken by the first of
// them, count one Pod in its cache and create two more. With them it does nothing
// until all three have been seen.
type Expectations struct {
	mu sync.Mutex
	of map[Name]*expectation
}

type expectation struct {
	creations int
	deletions map[types.UID]bool
	at        time.Time
}

// NewExpectations makes an empty set.
func NewExpectations() *Expectations {
	return &Expectations{of: map[Name]*expectation{}}
}

// Expect says that owner is about to create so many objects and to delete these.
func (e *Expectations) Expect(owner Name, creations int, deletions ...types.UID) {
	x := &expectation{creations: creations, deletions: map[types.UID]bool{}, at: time.Now()}
	for _, uid := range deletions {
		x.deletions[uid] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.of[owner] = x
}

// Created says that so many of the owner's creations were seen, or failed.
func (e *Expectations) Created(owner Name, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.of[owner]; x != nil {
		x.creations -= n
	}
}

// Deleted says that one of the owner's deletions was seen, or failed.
func (e *Expectations) Deleted(owner Name, uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.of[owner]; x != nil {
		delete(x.deletions, uid)
	}
}

// Satisfied reports whether the cache shows everything the owner wrote.
func (e *Expectations) Satisfied(owner Name) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.of[owner]
	if x == nil {
		return true
	}
	return x.creations <= 0 && len(x.deletions) == 0 || time.Since(x.at) > expectationsTimeout
}

// Forget drops the owner, which is gone.
func (e *Expectations) Forget(owner Name) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.of, owner)
}
