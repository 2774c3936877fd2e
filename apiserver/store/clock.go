package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// clock is the revision up to which the caches hold everything. Revisions are the
// time of a cluster: a read is consistent if the clock shows, when it is served, at
// least what etcd showed when it was asked.
type clock struct {
	revision atomic.Int64

	mu      sync.Mutex
	waiters []waiter
}

type waiter struct {
	revision int64
	reached  chan struct{}
}

func (c *clock) now() int64 { return c.revision.Load() }

// advance sets the clock forward and wakes those who waited for it.
func (c *clock) advance(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision <= c.revision.Load() {
		return
	}
	c.revision.Store(revision)
	waiting := c.waiters[:0]
	for _, w := range c.waiters {
		if w.revision <= revision {
			close(w.reached)
		} else {
			waiting = append(waiting, w)
		}
	}
	clear(c.waiters[len(waiting):])
	c.waiters = waiting
}

func (c *clock) reach(revision int64) waiter {
	w := waiter{revision: revision, reached: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision <= c.revision.Load() {
		close(w.reached)
	} else {
		c.waiters = append(c.waiters, w)
	}
	return w
}

func (c *clock) forget(w waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.waiters {
		if c.waiters[i].reached == w.reached {
			c.waiters = append(c.waiters[:i], c.waiters[i+1:]...)
			return
		}
	}
}

const (
	// maxWait is how long a read waits for the caches; upstream's figure.
	maxWait = 3 * time.Second
	// patience is how long the caches are waited for before etcd is asked to tell its
	// revision: it tells by itself only what changed below our prefix.
	patience = 10 * time.Millisecond
)

// wait returns when the clock shows the revision; nudge asks for it to be told.
func (c *clock) wait(ctx context.Context, revision int64, nudge func(context.Context)) error {
	if revision <= c.now() {
		return nil
	}
	w := c.reach(revision)
	defer c.forget(w)
	deadline := time.NewTimer(maxWait)
	defer deadline.Stop()
	impatience := time.NewTicker(patience)
	defer impatience.Stop()
	for {
		select {
		case <-w.reached:
			return nil
		case <-impatience.C:
			nudge(ctx)
			impatience.Reset(10 * patience)
		case <-deadline.C:
			return errTooLarge(revision, c.now())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// question lets concurrent readers share an answer. Who asks while an answer is on its
// way must not get that one, since it may be from before his question; all who ask
// meanwhile share the next.
type question struct {
	ask func(context.Context) (int64, error)

	mu    sync.Mutex
	next  *round // not sent yet
	asked bool   // somebody is sending
}

type round struct {
	done     chan struct{}
	revision int64
	err      error
}

// askTimeout bounds a shared question: it cannot end with the context of one who asks.
const askTimeout = 5 * time.Second

func (q *question) answer(ctx context.Context) (int64, error) {
	q.mu.Lock()
	if q.next == nil {
		q.next = &round{done: make(chan struct{})}
	}
	r := q.next
	if !q.asked {
		q.asked = true
		go q.send() // ends when nobody asks, each question after askTimeout at the latest
	}
	q.mu.Unlock()
	select {
	case <-r.done:
		return r.revision, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// send asks as long as there are rounds to ask for.
func (q *question) send() {
	for {
		q.mu.Lock()
		r := q.next
		q.next = nil
		q.asked = r != nil
		q.mu.Unlock()
		if r == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		r.revision, r.err = q.ask(ctx)
		cancel()
		close(r.done)
	}
}
