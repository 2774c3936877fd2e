package store

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// WatchOptions select events.
type WatchOptions struct {
	Namespace string
	Name      string // only this object; "" for all

	// Revision: the events after this one. 0 begins with ADDED events of the present
	// state: as etcd has it now, or, with Any, as the cache has it.
	Revision int64
	Any      bool // resourceVersion "0"
	// Initial asks for the present state (at least as new as Revision, or as new as etcd
	// now where Revision is 0), then a mark: sendInitialEvents=true.
	Initial bool

	Until <-chan struct{} // ends the watch when it is closed, as ctx does; may be nil
}

// Notice is what a watcher receives: an event, or a mark of progress.
type Notice struct {
	Event
	Bookmark   int64 // revision up to which all events have been delivered; 0 if this is an event
	InitialEnd bool  // the bookmark that ends the initial events
}

// bookmarkInterval is how often a watcher is told how far it is, about: not all at once.
const bookmarkInterval = time.Minute

// Watcher delivers notices in revision order until it is stopped or fails. It has no
// goroutine of its own: who reads it does its work.
type Watcher struct {
	collection *Collection
	prefix     string // of the keys it is about
	name       string // "" for all

	// The present state, until it has been delivered.
	initial state
	from    string
	mark    bool // then an InitialEnd
	start   int64

	// Guarded by feed.mu.
	feed  *feed
	place int64 // in the feed, of the next event
	after int64 // events up to this revision are not for us
	idle  bool  // has had everything, and is in feed.idle
	gone  bool  // has left

	woken    chan struct{}
	bookmark *time.Timer
	stopped  chan struct{}
	until    <-chan struct{}
	stop     sync.Once
	forget   func() bool // the context that would stop us
}

// Watch follows the kind from a revision, until ctx ends. One older than the history
// kept is apierrors.NewResourceExpired (410).
func (c *Collection) Watch(ctx context.Context, o WatchOptions) (*Watcher, error) {
	w := &Watcher{
		collection: c,
		woken:      make(chan struct{}, 1),
		stopped:    make(chan struct{}),
		until:      o.Until,
	}
	if o.Namespace != "" && c.kind.Namespaced {
		w.prefix = o.Namespace + "/"
	}
	w.name = o.Name
	if err := c.begin(ctx, w, o); err != nil {
		return nil, err
	}
	w.bookmark = time.NewTimer(jittered(bookmarkInterval))
	w.forget = context.AfterFunc(ctx, w.halt)
	return w, nil
}

func jittered(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// begin finds where the watcher's events begin.
func (c *Collection) begin(ctx context.Context, w *Watcher, o WatchOptions) error {
	if o.Revision > 0 && !o.Initial {
		return c.resume(ctx, w, o.Revision)
	}
	var err error
	switch {
	case o.Revision > 0:
		err = c.store.WaitFor(ctx, o.Revision)
	case !o.Any:
		err = c.store.current(ctx)
	default:
		err = c.store.filled(ctx)
	}
	if err != nil {
		return err
	}
	w.initial, w.start = c.snapshot()
	w.from, w.mark = w.prefix, o.Initial
	return c.feed.Load().join(w, w.start)
}

// resume joins after a revision that the client has seen. Just after a start the
// history from before it is still being read.
func (c *Collection) resume(ctx context.Context, w *Watcher, revision int64) error {
	err := c.store.filled(ctx)
	if err == nil {
		err = c.feed.Load().join(w, revision)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	select {
	case <-c.store.recalled:
		return c.feed.Load().join(w, revision)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// concerns says whether an event is one of those watched.
func (w *Watcher) concerns(e *Event) bool {
	if !strings.HasPrefix(e.key, w.prefix) {
		return false
	}
	return w.name == "" || e.key[strings.IndexByte(e.key, '/')+1:] == w.name
}

func (w *Watcher) wake() {
	select {
	case w.woken <- struct{}{}:
	default: // it is already on its way
	}
}

// Next returns the notices that have come since the last call, at least one. When
// there are none it waits. After Stop, or the end of Watch's context, it returns
// nothing and no error. ErrSlow says that the reader fell too far behind, a 410 that the
// history broke off.
func (w *Watcher) Next(ctx context.Context) ([]Notice, error) {
	for {
		batch, err := w.collect()
		if len(batch) > 0 || err != nil {
			return batch, err
		}
		select {
		case <-w.woken:
		case <-w.bookmark.C:
			w.bookmark.Reset(jittered(bookmarkInterval))
			shown := w.collection.store.clock.now() // before the look at the feed: all of it is there
			if batch, err := w.collect(); len(batch) > 0 || err != nil {
				return batch, err
			}
			return []Notice{{Bookmark: shown}}, nil
		case <-w.stopped:
			return nil, nil
		case <-w.until:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// collect returns what is there: first the initial state, then the feed.
func (w *Watcher) collect() ([]Notice, error) {
	select {
	case <-w.stopped:
		return nil, nil
	default:
	}
	if w.initial != nil {
		if batch := w.present(); len(batch) > 0 {
			return batch, nil
		}
	}
	return w.feed.take(w)
}

// present returns the next part of the initial state.
func (w *Watcher) present() []Notice {
	var batch []Notice
	more := false
	w.initial.AscendGreaterOrEqual(item{key: w.from}, func(i item) bool {
		if !strings.HasPrefix(i.key, w.prefix) {
			return false
		}
		if more = len(batch) == maxBatch; more {
			w.from = i.key
			return false
		}
		e := Event{Type: watch.Added, Version: i.version, key: i.key}
		if w.concerns(&e) {
			batch = append(batch, Notice{Event: e})
		}
		return true
	})
	if !more {
		w.initial = nil
		if w.mark {
			batch = append(batch, Notice{Bookmark: w.start, InitialEnd: true})
		}
	}
	return batch
}

// halt ends the watcher without waiting for anything.
func (w *Watcher) halt() {
	w.stop.Do(func() {
		close(w.stopped)
		w.bookmark.Stop()
		w.feed.leave(w)
	})
}

// Stop ends the watcher. It may be called more than once.
func (w *Watcher) Stop() {
	w.forget()
	w.halt()
}
