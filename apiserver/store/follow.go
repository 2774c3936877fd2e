package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// errStopped ends the watchers when Run ends.
var errStopped = errors.New("the store has stopped")

// retryDelay is waited before etcd is tried again.
const retryDelay = 200 * time.Millisecond

// Run loads every kind and follows etcd until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	// A member that is cut off from its cluster would be silent for ever: leave it.
	ctx = clientv3.WithRequireLeader(ctx)
	defer s.closeFeeds(errStopped)
	for {
		err := s.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.log.Warn("cannot follow etcd; loading everything again", "error", err)
		if !sleep(ctx, retryDelay) {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// session fills the caches and follows etcd for as long as its history has no gap.
func (s *Store) session(ctx context.Context) error {
	revision, err := s.load(ctx)
	if err != nil {
		return err
	}
	first := false
	s.readyOnce.Do(func() {
		first = true
		close(s.ready)
	})
	if first {
		recall, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.recall(recall, revision)
		}()
		defer func() { stop(); <-done }()
	}
	for {
		err := s.follow(ctx)
		if errors.Is(err, rpctypes.ErrCompacted) || ctx.Err() != nil {
			return err
		}
		s.log.Warn("the watch on etcd ended; resuming it", "revision", s.clock.now(), "error", err)
		if !sleep(ctx, retryDelay) {
			return ctx.Err()
		}
	}
}

// follow applies what etcd tells from where the clock is. It returns why that ended.
func (s *Store) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	responses := s.client.Watch(ctx, s.prefix, clientv3.WithPrefix(),
		clientv3.WithRev(s.clock.now()+1), clientv3.WithProgressNotify())
	for r := range responses {
		if err := r.Err(); err != nil {
			return err
		}
		if len(r.Events) == 0 {
			if r.IsProgressNotify() {
				s.clock.advance(r.Header.Revision)
			}
			continue
		}
		s.apply(r.Events)
		// Not the header's revision: while the watch catches up that is ahead of what it
		// has delivered.
		s.clock.advance(r.Events[len(r.Events)-1].Kv.ModRevision)
	}
	return errors.New("the watch was closed")
}

// apply brings events to the caches and feeds of their kinds, in their order. All
// events of a revision are in one call.
func (s *Store) apply(events []*clientv3.Event) {
	now := time.Now()
	var changes []change
	var of *Collection
	publish := func() {
		if len(changes) > 0 {
			of.feed.Load().append(of.observed(of.cache.apply(changes)), now)
		}
		changes = changes[:0]
	}
	for _, e := range events {
		rest := string(e.Kv.Key[len(s.prefix):])
		if name, ok := strings.CutPrefix(rest, claimPrefix); ok {
			s.claims.set(name, string(e.Kv.Value)) // a deletion has no value
			continue
		}
		c, key := s.route(rest)
		if c == nil {
			continue // of a kind that we do not serve
		}
		if c != of {
			publish()
			of = c
		}
		changes = append(changes, c.changed(key, e))
	}
	publish()
}

// changed reads what etcd tells of a key.
func (c *Collection) changed(key string, e *clientv3.Event) change {
	ch := change{key: key, revision: e.Kv.ModRevision}
	if e.Type == clientv3.EventTypeDelete {
		return ch
	}
	if ch.version = c.store.pending.take(string(e.Kv.Key), e.Kv.Value, ch.revision); ch.version != nil {
		return ch
	}
	object, err := c.codec.decode(e.Kv.Value)
	if err != nil {
		// It cannot be served; nor may one object keep all others from being served.
		c.store.log.Error("an object in etcd cannot be read and is treated as missing", "key", string(e.Kv.Key), "error", err)
		return ch
	}
	ch.version = newVersion(object, ch.revision)
	return ch
}

// load reads everything at one revision and puts it into the caches.
func (s *Store) load(ctx context.Context) (int64, error) {
	revision, err := s.ask(ctx)
	if err != nil {
		return 0, err
	}
	states := map[*Collection]state{}
	for _, c := range s.kinds {
		states[c] = newState()
	}
	var held claims
	err = s.scan(ctx, s.prefix, clientv3.GetPrefixRangeEnd(s.prefix), revision, func(rest string, value []byte, modified int64) {
		if name, ok := strings.CutPrefix(rest, claimPrefix); ok {
			held.set(name, string(value))
			return
		}
		c, key := s.route(rest)
		if c == nil {
			return
		}
		object, err := c.codec.decode(value)
		if err != nil {
			s.log.Error("an object in etcd cannot be read and is treated as missing", "key", s.prefix+rest, "error", err)
			return
		}
		states[c].ReplaceOrInsert(item{key, newVersion(object, modified)})
	})
	if err != nil {
		return 0, fmt.Errorf("load the cluster's state: %w", err)
	}
	s.pending.clear()
	s.claims.become(&held)
	for c, loaded := range states {
		c.cache.replace(loaded, revision)
		c.replaced(loaded)
		// What happened since the last load is not known: watchers must list again.
		c.feed.Swap(newFeed(revision)).close(apierrors.NewResourceExpired("the history of changes was interrupted: list again"))
	}
	s.clock.advance(revision)
	return revision, nil
}

// scanPage bounds how much is read at once.
const scanPage = 1000

// scan visits the keys from start to end, as they were at a revision, without the
// store's prefix.
func (s *Store) scan(ctx context.Context, start, end string, revision int64, visit func(rest string, value []byte, modified int64)) error {
	for {
		r, err := s.client.Get(ctx, start, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(scanPage))
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			visit(string(kv.Key[len(s.prefix):]), kv.Value, kv.ModRevision)
		}
		if !r.More {
			return nil
		}
		start = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) closeFeeds(err error) {
	for _, c := range s.kinds {
		c.feed.Load().close(err)
	}
}

// filled returns when the caches hold something.
func (s *Store) filled(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	default:
	}
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// current returns when the caches hold all that was acknowledged to anybody before.
func (s *Store) current(ctx context.Context) error {
	if err := s.filled(ctx); err != nil {
		return err
	}
	revision, err := s.newest(ctx)
	if err != nil {
		return translate("ask etcd for its revision", err)
	}
	return s.WaitFor(ctx, revision)
}

// ask learns etcd's revision by a linearizable read of next to nothing.
func (s *Store) ask(ctx context.Context) (int64, error) {
	r, err := s.client.Get(ctx, s.prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("ask etcd for its revision: %w", err)
	}
	return r.Header.Revision, nil
}

// nudge asks etcd to tell the watch how far it is. Revisions that changed nothing
// below our prefix are not told otherwise.
func (s *Store) nudge(ctx context.Context) {
	if err := s.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
		s.log.Debug("could not ask etcd for progress", "error", err)
	}
}
