package proxy

import (
	"sync"
	"time"

	"orrery.example.org/proxy/plan"
)

// queue collects what has to be planned anew. Any number of events on one Service
// between two syncs are one entry.
type queue struct {
	mu    sync.Mutex
	batch batch
	wake  chan struct{}
}

// batch is what one sync has to look at.
type batch struct {
	services map[plan.Name]struct{}
	all      bool // the node changed, and with it every plan
	since    time.Time
	// triggers are the times of the Pod or Service changes behind slice changes.
	triggers []time.Time
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), batch: batch{services: map[plan.Name]struct{}{}}}
}

// add asks for one Service. trigger may be zero.
func (q *queue) add(name plan.Name, trigger time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batch.services[name] = struct{}{}
	if !trigger.IsZero() {
		q.batch.triggers = append(q.batch.triggers, trigger)
	}
	q.touch()
}

// addAll asks for everything.
func (q *queue) addAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batch.all = true
	q.touch()
}

func (q *queue) touch() {
	if q.batch.since.IsZero() {
		q.batch.since = time.Now()
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take hands out what has come together and starts anew.
func (q *queue) take() batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.batch
	q.batch = batch{services: map[plan.Name]struct{}{}}
	return b
}
