// Package store keeps the API's objects in etcd and serves reads and watches of
// them from memory.
//
// Upstream counterpart: k8s.io/apiserver/pkg/storage, its etcd3 (the writes) and its
// cacher (the reads).
//
// The life of a change:
//
//	Write     (write.go)   one etcd transaction: put if nobody else wrote first, and take
//	                       the names it claims (claims.go)
//	   |
//	  etcd                 gives the transaction a revision and tells the watch
//	   |
//	Run       (follow.go)  one watch over all keys, one goroutine: every cache sees the
//	   |                   changes in the one order of their revisions
//	   +--> cache (cache.go)   what is there now: Get and List (list.go)
//	   +--> feed  (feed.go)    what happened lately: Watch (watch.go)
//	   +--> clock (clock.go)   how far all of that has come; reads that must not be
//	                           older than a revision wait here
//
// Keys and values are those of upstream (key.go, codec.go): /registry/pods/default/web
// holds a Pod in protobuf, and an object's resourceVersion is not in its value but is
// the revision of its key.
//
// Left out: encryption at rest, a storage per group version, and reads that go to etcd
// itself, except for pages of old lists.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"orrery.example.org/api"
)

// Store is the cluster's state.
type Store struct {
	client *clientv3.Client
	prefix string
	log    *slog.Logger

	kinds     map[*api.Kind]*Collection
	resources map[string]*Collection // by the prefix of their keys: "pods/"

	newest  func(context.Context) (int64, error) // etcd's present revision
	clock   clock
	claims  claims
	leases  leases
	pending pending

	ready     chan struct{} // closed when the caches are filled
	readyOnce sync.Once
	recalled  chan struct{} // closed when the feeds hold what happened before Run
}

// Option is a detail of a store.
type Option func(*Store)

// WithRevision tells how to learn etcd's present revision at no cost: every
// consistent read asks. Without it, or with nil, it is a linearizable read of etcd,
// which concurrent readers share.
func WithRevision(f func(context.Context) (int64, error)) Option {
	return func(s *Store) {
		if f != nil {
			s.newest = f
		}
	}
}

// New makes a store on client for the given kinds, all keys below prefix
// ("/registry/" as upstream). It starts nothing.
func New(client *clientv3.Client, prefix string, kinds []*api.Kind, log *slog.Logger, options ...Option) *Store {
	if log == nil {
		log = slog.Default()
	}
	s := &Store{
		client: client, prefix: prefix, log: log.With("component", "store"),
		kinds:     map[*api.Kind]*Collection{},
		resources: map[string]*Collection{},
		ready:     make(chan struct{}),
		recalled:  make(chan struct{}),
	}
	s.newest = (&question{ask: s.ask}).answer
	s.leases.client = client
	for _, option := range options {
		option(s)
	}
	for _, k := range kinds {
		if !k.Stored() {
			continue
		}
		c := &Collection{store: s, kind: k, prefix: resourcePrefix(k), codec: codec{k}}
		c.cache.replace(newState(), 0)
		c.feed.Store(newFeed(0))
		if other := s.resources[c.prefix]; other != nil {
			panic(fmt.Sprintf("two kinds are stored under %s: %v and %v", c.prefix, other.kind.GroupResource(), k.GroupResource()))
		}
		s.kinds[k], s.resources[c.prefix] = c, c
	}
	return s
}

// Ready is closed once the caches hold what etcd held when Run began.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Revision is how far the caches have come.
func (s *Store) Revision() int64 { return s.clock.now() }

// WaitFor returns when the caches are at least at the revision. One that etcd has not
// reached yet is a timeout error with cause ResourceVersionTooLarge, as upstream's.
func (s *Store) WaitFor(ctx context.Context, revision int64) error {
	return s.clock.wait(ctx, revision, s.nudge)
}

// Current returns when the caches, and who observes them, are as new as etcd is now.
func (s *Store) Current(ctx context.Context) error { return s.current(ctx) }

// Ping asks whether etcd answers and the caches follow it.
func (s *Store) Ping(ctx context.Context) error {
	select {
	case <-s.ready:
	default:
		return errors.New("the caches are not filled yet")
	}
	if _, err := s.ask(ctx); err != nil {
		return err
	}
	return s.current(ctx)
}

// Collection is the place of one kind. It is nil for a kind that is not stored.
func (s *Store) Collection(k *api.Kind) *Collection { return s.kinds[k] }

// Collection holds the objects of one kind.
type Collection struct {
	store  *Store
	kind   *api.Kind
	prefix string // of its keys, below the store's
	codec  codec

	cache     cache
	feed      atomic.Pointer[feed] // another one after a gap in the history
	observers []Observer
}

// Len is the number of objects.
func (c *Collection) Len() int {
	snapshot, _ := c.snapshot()
	return snapshot.Len()
}
