// Package loop is the shell that every controller stands on: a queue of names, the
// workers that take names from it, and the watches that put names into it.
//
// Upstream counterpart: the boilerplate that each controller of pkg/controller
// repeats, plus pkg/controller/controller_utils.go (expectations, slow start).
//
// What flows in: informer events. What flows out: calls of one function with a name.
// The function reads the current state from caches, decides what should be, and
// writes the difference. It is told which object to look at and never what happened
// to it, so that a missed, doubled or reordered event costs nothing.
//
// This package imports no controller, and every controller imports it.
package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

// Env is what the manager hands to every loop.
type Env struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  func(component string) record.EventRecorder
	Log       *slog.Logger
	Workers   int // how many names are worked on at once
}

// Name is the usual key of a queue: one object.
type Name = cache.ObjectName

// NameOf is the name of an object.
func NameOf(obj metav1.Object) Name {
	return Name{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// ErrStale says that a cache has not yet caught up with this loop's own writes.
// The name is worked on again, at the latest after a back-off.
var ErrStale = errors.New("the informer's cache lags behind our own writes")

// Retries of a name that failed start here and double up to the maximum.
//
// Kubernetes: up to 1000 s, behind a limit of 10 retries a second for all names together.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Loop is a queue and its workers. A name is never worked on by two workers at once,
// and a name that is added many times before a worker gets to it is worked on once:
// that is what lets a burst of events cost one pass.
type Loop[K comparable] struct {
	name    string
	workers int
	sync    func(context.Context, K) error
	queue   workqueue.TypedRateLimitingInterface[K]
	log     *slog.Logger
	rests   *rests[K] // nil: no name ever rests

	synced []cache.DoneChecker
	err    error // of a Watch
}

// New makes a loop that calls sync for each name added. Nothing runs before Run.
func New[K comparable](name string, env Env, sync func(context.Context, K) error) *Loop[K] {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry)
	return &Loop[K]{
		name:    name,
		workers: max(1, env.Workers),
		sync:    sync,
		queue:   workqueue.NewTypedRateLimitingQueue(limiter),
		log:     env.Log.With("loop", name),
	}
}

// Name is what the loop is called in logs.
func (l *Loop[K]) Name() string { return l.name }

// Log is the loop's logger.
func (l *Loop[K]) Log() *slog.Logger { return l.log }

// Add has the name worked on soon.
func (l *Loop[K]) Add(key K) { l.queue.Add(key) }

// AddAfter has the name worked on after a while.
func (l *Loop[K]) AddAfter(key K, d time.Duration) { l.queue.AddAfter(key, d) }

// Synced lists what must be done before Run: every object that existed at the start
// has passed the loop's watches.
func (l *Loop[K]) Synced() []cache.DoneChecker { return l.synced }

// Run works until ctx is done and returns when the last worker has.
func (l *Loop[K]) Run(ctx context.Context) error {
	defer l.queue.ShutDown()
	if l.err != nil {
		return fmt.Errorf("%s: %w", l.name, l.err)
	}
	var workers sync.WaitGroup
	for range l.workers {
		workers.Go(func() {
			for l.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	l.queue.ShutDown()
	workers.Wait()
	return nil
}

// next works on one name. It reports false after the end.
func (l *Loop[K]) next(ctx context.Context) bool {
	key, end := l.queue.Get()
	if end || ctx.Err() != nil {
		return false
	}
	defer l.queue.Done(key)
	if left := l.rests.left(key); left > 0 {
		l.queue.AddAfter(key, left)
		return true
	}
	began := time.Now()
	err := l.sync(ctx, key)
	if l.rests != nil {
		l.rests.took(key, time.Since(began))
	}
	switch {
	case err == nil, ctx.Err() != nil:
		l.queue.Forget(key)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// Nothing can be created in a namespace on its way out, now or later.
		l.queue.Forget(key)
	case errors.Is(err, ErrStale), apierrors.IsConflict(err):
		// 409 means that somebody wrote the object after the copy in our cache: this is
		// the protocol at work. The newer copy is on its way; start over from it.
		l.queue.AddRateLimited(key)
	default:
		l.log.Warn("sync failed, will retry", "key", key, "err", err)
		l.queue.AddRateLimited(key)
	}
	return true
}
