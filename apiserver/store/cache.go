package store

import (
	"context"
	"sync"

	"github.com/google/btree"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// state is all objects of a kind in the order of their keys. Cloning one costs
// nothing: the copies share their nodes until one of them writes. That makes every
// list a consistent snapshot.
type state = *btree.BTreeG[item]

type item struct {
	key     string
	version *Version
}

func newState() state {
	return btree.NewG(32, func(a, b item) bool { return a.key < b.key })
}

// cache is the present state of one kind.
type cache struct {
	mu       sync.RWMutex
	state    state
	revision int64 // of the last change in state
	frozen   state // a clone of state, until that changes again
}

func (c *cache) get(key string) *Version {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found, _ := c.state.Get(item{key: key})
	return found.version
}

// snapshot is the state, never to be written, and the revision of its last change.
func (c *cache) snapshot() (state, int64) {
	c.mu.RLock()
	frozen, revision := c.frozen, c.revision
	c.mu.RUnlock()
	if frozen != nil {
		return frozen, revision
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen == nil {
		c.frozen = c.state.Clone()
	}
	return c.frozen, c.revision
}

// fork is the state, to be written by the caller, and the revision of its last change.
func (c *cache) fork() (state, int64) {
	c.mu.Lock() // cloning changes the original, too
	defer c.mu.Unlock()
	return c.state.Clone(), c.revision
}

// replace puts in another state.
func (c *cache) replace(s state, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.frozen, c.revision = s, nil, revision
}

// change is what etcd tells of a key: a version, or, with nil, that it is deleted.
type change struct {
	key      string
	version  *Version
	revision int64
}

// apply makes the changes and returns them as events. Only the one goroutine that
// follows etcd calls it.
func (c *cache) apply(changes []change) []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	events := make([]Event, 0, len(changes))
	for _, ch := range changes {
		e := Event{key: ch.key, Version: ch.version}
		if ch.version == nil {
			gone, ok := c.state.Delete(item{key: ch.key})
			if !ok {
				continue
			}
			e.Type, e.Previous, e.Version = watch.Deleted, gone.version, gone.version.at(ch.revision)
		} else if old, ok := c.state.ReplaceOrInsert(item{ch.key, ch.version}); ok {
			e.Type, e.Previous = watch.Modified, old.version
		} else {
			e.Type = watch.Added
		}
		events = append(events, e)
		c.revision = ch.revision
	}
	if len(events) > 0 {
		c.frozen = nil
	}
	return events
}

// snapshot is the present state and the revision it is at: nothing happened to the
// kind between its last change and what the clock shows.
func (c *Collection) snapshot() (state, int64) {
	shown := c.store.clock.now() // read first, so that all of it is in the state
	snapshot, revision := c.cache.snapshot()
	return snapshot, max(shown, revision)
}

// at is the state as it was at an earlier revision, as far as the feed reaches back;
// nil beyond that.
func (c *Collection) at(ctx context.Context, revision int64) (state, error) {
	snapshot, last := c.cache.snapshot()
	if revision >= last {
		return snapshot, nil
	}
	past, last := c.cache.fork()
	// The state runs ahead of the feed by as much as is being applied right now.
	if err := c.store.WaitFor(ctx, last); err != nil {
		return nil, err
	}
	since, ok := c.feed.Load().between(revision, last)
	if !ok {
		return nil, nil
	}
	for i := len(since) - 1; i >= 0; i-- {
		if e := &since[i]; e.Previous == nil {
			past.Delete(item{key: e.key})
		} else {
			past.ReplaceOrInsert(item{e.key, e.Previous})
		}
	}
	return past, nil
}

// Get returns the object as it is now (linearizable), or, where stale is true, as
// the cache has it. A missing one is apierrors.NewNotFound.
func (c *Collection) Get(ctx context.Context, namespace, name string, stale bool) (*Version, error) {
	if !stale {
		if err := c.store.current(ctx); err != nil {
			return nil, err
		}
	}
	v := c.cache.get(c.key(namespace, name))
	if v == nil {
		return nil, apierrors.NewNotFound(c.kind.GroupResource(), name)
	}
	return v, nil
}

// WaitFor returns when the cache is at least as new as the revision.
func (c *Collection) WaitFor(ctx context.Context, revision int64) error {
	if revision == 0 {
		return nil
	}
	return c.store.WaitFor(ctx, revision)
}
