// Package store keeps the API's objects in etcd and serves reads and watches of
// them from memory.
//
// Upstream counterpart: k8s.io/apiserver/pkg/storage (etcd3 and cacher).
package store

import (
	"context"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
)

// Version is one version of one object, as the store holds it. It is shared by
// every reader: never change Object; deep-copy it first.
type Version struct {
	Object   api.Object // of the kind's storage version; its resourceVersion is set
	Revision int64      // etcd's mod revision
}

// Encoded returns the bytes of this version in the encoding that key names, which
// encode makes at most once for all readers. The result must not be changed.
func (v *Version) Encoded(key any, encode func(api.Object) ([]byte, error)) ([]byte, error) {
	panic("todo")
}

// Event is one change of one object.
type Event struct {
	Type     watch.EventType // Added, Modified, Deleted
	Version  *Version        // for Deleted: the last state, its resourceVersion that of the deletion
	Previous *Version        // what was there before; nil for Added
}

// Store is the cluster's state.
type Store struct{}

// New makes a store on client for the given kinds, all keys below prefix
// ("/registry/" as upstream). It starts nothing.
func New(client *clientv3.Client, prefix string, kinds []*api.Kind, log *slog.Logger) *Store {
	panic("todo")
}

// Run loads every kind and follows etcd until ctx ends.
func (s *Store) Run(ctx context.Context) error { panic("todo") }

// Ready is closed once the caches hold what etcd held when Run began.
func (s *Store) Ready() <-chan struct{} { panic("todo") }

// Collection is the place of one kind.
func (s *Store) Collection(k *api.Kind) *Collection { panic("todo") }

// Collection holds the objects of one kind.
type Collection struct{}

// Get returns the object as it is now (linearizable), or, where stale is true, as
// the cache has it. A missing one is apierrors.NewNotFound.
func (c *Collection) Get(ctx context.Context, namespace, name string, stale bool) (*Version, error) {
	panic("todo")
}

// Write is what to do to one object, in one transaction.
type Write struct {
	Object  api.Object    // nil deletes it
	TTL     time.Duration // 0: no expiry
	Claim   []string      // names that must be free everywhere and are taken with this write, e.g. "clusterips/10.96.0.7"
	Release []string      // names given back with this write
}

// ErrClaimed is returned by Write when somebody else holds a name.
type ErrClaimed struct{ Name string }

func (e *ErrClaimed) Error() string { return e.Name + " is already taken" }

// Change decides what to write from what is there now; current is nil if nothing
// is. It may be called again when somebody else wrote first, so it must be free of
// side effects. Its error is returned by Write as it is.
type Change func(current *Version) (Write, error)

// Write changes one object by compare-and-swap and returns the version it wrote
// (for a deletion the last state with the deletion's revision). A change that
// leaves the stored bytes as they are writes nothing and returns the current one.
func (c *Collection) Write(ctx context.Context, namespace, name string, change Change) (*Version, error) {
	panic("todo")
}

// ListOptions select versions.
type ListOptions struct {
	Namespace string // "" for all
	Match     func(api.Object) bool

	// Revision and Exact carry resourceVersion and resourceVersionMatch: 0 with
	// AnyRevision serves what the cache has, 0 without it what etcd has now, another
	// number a state at least that new, or with Exact just that one.
	Revision    int64
	AnyRevision bool
	Exact       bool

	Limit    int64
	Continue string
}

// List is a consistent snapshot.
type List struct {
	Items     []*Version
	Revision  int64
	Continue  string
	Remaining *int64 // nil where it isn't known (a selector is set)
}

// List returns the selected versions in key order. A revision that etcd no longer
// has is apierrors.NewResourceExpired (410), one from the future is a timeout error
// with cause ResourceVersionTooLarge, as upstream's.
func (c *Collection) List(ctx context.Context, o ListOptions) (*List, error) { panic("todo") }

// WatchOptions select events.
type WatchOptions struct {
	Namespace string
	Revision  int64 // events after this one; 0 with Initial or Any begins with the present state
	Any       bool  // resourceVersion "0" or none: begin with ADDED events of the present state
	// Initial asks for the present state (at least as new as Revision, or as new as etcd
	// now where Revision is 0), then a mark: sendInitialEvents=true.
	Initial bool
	Name    string // only this object; "" for all
}

// Notice is what a watcher receives: an event, or a mark of progress.
type Notice struct {
	Event
	Bookmark   int64 // revision up to which all events have been delivered; 0 if this is an event
	InitialEnd bool  // the bookmark that ends the initial events
}

// Watcher delivers notices in revision order until it is stopped or fails.
type Watcher struct{}

// Notices is closed when the watcher ends; then Err says why.
func (w *Watcher) Notices() <-chan Notice { panic("todo") }

// Err is nil after Stop; ErrSlow when the reader fell too far behind.
func (w *Watcher) Err() error { panic("todo") }

// Stop ends the watcher. It may be called more than once.
func (w *Watcher) Stop() { panic("todo") }

// Watch follows the kind from a revision. One older than the history kept is
// apierrors.NewResourceExpired (410).
func (c *Collection) Watch(ctx context.Context, o WatchOptions) (*Watcher, error) { panic("todo") }
