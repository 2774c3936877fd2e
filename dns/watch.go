package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// An informer is a reflector (it lists and watches, and starts over where that breaks),
// a store that it fills, and handlers that hear of changes. Here the reflectors are
// client-go's, and the index is store and handler in one: of each object it keeps what
// answers need, and nothing of the rest. CoreDNS replaces the store likewise.

// retries is how a reflector waits between attempts. client-go's own start at 0.8 s and
// reach 30 s, which a cluster of thousands needs; after an outage of the API we want to
// be up to date at once.
var retries = wait.Backoff{Duration: 5 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 9, Cap: time.Second}

// watch keeps the index up to date until ctx ends. It closes s.ready when every kind
// has been listed once.
func (s *Server) watch(ctx context.Context) error {
	if err := s.awaitAPI(ctx); err != nil {
		return nil // ctx has ended
	}
	core := s.clientset.CoreV1()
	feeds := []feed{
		newFeed(s, "Namespace", core.Namespaces(), compactNamespace, (*view).setNamespace),
		newFeed(s, "Service", core.Services(metav1.NamespaceAll), compactService, (*view).setService),
		newFeed(s, "EndpointSlice", s.clientset.DiscoveryV1().EndpointSlices(metav1.NamespaceAll), s.compactSlice, (*view).setSlice),
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, f := range feeds {
		wg.Go(func() { f.run(ctx, s.log) })
	}
	wg.Go(func() { s.feedPods(ctx) })
	waits := []<-chan struct{}{feeds[0].synced, feeds[1].synced, feeds[2].synced}
	if s.cfg.Pods == podsVerified {
		s.watchPods()
		waits = append(waits, s.podsSynced)
	}
	for _, synced := range waits {
		select {
		case <-synced:
		case <-ctx.Done():
			return nil
		}
	}
	s.log.Info("serving the cluster's names", "domain", s.cfg.Domain)
	close(s.ready)
	return nil
}

// feedPods watches Pods once there is a need to: most clusters have none, and ten Pods for
// each Service.
func (s *Server) feedPods(ctx context.Context) {
	select {
	case <-s.podsWanted:
	case <-ctx.Done():
		return
	}
	f := newFeed(s, "Pod", s.clientset.CoreV1().Pods(metav1.NamespaceAll), compactPod, (*view).setPod)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { f.run(ctx, s.log) })
	select {
	case <-f.synced:
		close(s.podsSynced)
	case <-ctx.Done():
	}
}

// awaitAPI returns once the API answers anything. The way to it may not be programmed
// yet when we start: a packet to 10.96.0.1 then gets lost, TCP would resend it a second
// later only, so each attempt is given up early and made anew.
func (s *Server) awaitAPI(ctx context.Context) error {
	timeout, pause := 50*time.Millisecond, 2*time.Millisecond
	for waited := time.Duration(0); ; waited += pause {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		_, err := s.clientset.CoreV1().Namespaces().List(attempt, metav1.ListOptions{Limit: 1})
		cancel()
		var status apierrors.APIStatus
		if err == nil || errors.As(err, &status) {
			return nil
		}
		if waited == 0 {
			s.log.Info("waiting for the API", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		timeout, pause = min(timeout*3/2, 5*time.Second), min(pause*3/2, time.Second)
	}
}

// compactSlice also measures how long a change took to get here.
func (s *Server) compactSlice(es *discoveryv1.EndpointSlice) *slice {
	compacted := compactSlice(es)
	if trigger := es.Annotations[corev1.EndpointsLastChangeTriggerTime]; trigger != "" && compacted != nil {
		s.observeProgramming(compacted.service, trigger)
	}
	return compacted
}

// feed is one kind's way from the API into the index.
type feed struct {
	source  cache.ListerWatcher
	example runtime.Object
	store   cache.ReflectorStore
	synced  <-chan struct{}
}

// run keeps the store up to date until ctx ends.
func (f *feed) run(ctx context.Context, log *slog.Logger) {
	logger, backoff := logr.FromSlogHandler(log.Handler()), retries
	options := cache.ReflectorOptions{Name: "dns", Logger: &logger, Backoff: &backoff}
	cache.NewReflectorWithOptions(f.source, f.example, f.store, options).RunWithContext(klog.NewContext(ctx, logger))
}

// lister is what client-go's typed clients have in common.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// object is a pointer to a kind's type.
type object[O any] interface {
	*O
	runtime.Object
	metav1.Object
}

func newFeed[O any, P object[O], L runtime.Object, T any](
	s *Server, kind string, client lister[L], compact func(P) *T, set func(v *view, k key, old, now *T),
) feed {
	m := &mirror[P, T]{
		index: s.index, kind: kind, items: map[key]*T{},
		compact: compact, set: set, synced: make(chan struct{}),
	}
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, options)
		},
		WatchFuncWithContext: client.Watch,
	}
	return feed{
		source:  cache.ToListWatcherWithWatchListSemantics(source, s.clientset),
		example: P(new(O)), store: m, synced: m.synced,
	}
}

// mirror is the store that a reflector fills. Its items are the index's own: compacted,
// and set in the view as they come.
type mirror[P metav1.Object, T any] struct {
	index   *index
	kind    string
	items   map[key]*T // guarded by the index
	compact func(P) *T
	set     func(v *view, k key, old, now *T)

	once   sync.Once
	synced chan struct{} // closed by the first Replace
}

// Add is told of a new object.
func (m *mirror[P, T]) Add(obj any) error { return m.Update(obj) }

// Update is told of a changed one.
func (m *mirror[P, T]) Update(obj any) error {
	o, ok := obj.(P)
	if !ok {
		return fmt.Errorf("watch of kind %s brought a %T", m.kind, obj)
	}
	now := m.compact(o)
	m.index.change(func(v *view) { m.put(v, key{o.GetNamespace(), o.GetName()}, now) })
	return nil
}

// Delete is told of an object's end.
func (m *mirror[P, T]) Delete(obj any) error {
	o, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("watch of kind %s: %w", m.kind, err)
	}
	m.index.change(func(v *view) { m.put(v, key{o.GetNamespace(), o.GetName()}, nil) })
	return nil
}

// Replace is told of all there is: at first, and when a watch could not be resumed.
// What is not in the list was deleted meanwhile.
func (m *mirror[P, T]) Replace(list []any, _ string) error {
	all := make(map[key]*T, len(list))
	for _, obj := range list {
		o, ok := obj.(P)
		if !ok {
			return fmt.Errorf("list of kind %s brought a %T", m.kind, obj)
		}
		all[key{o.GetNamespace(), o.GetName()}] = m.compact(o)
	}
	m.index.change(func(v *view) {
		for k := range m.items {
			if all[k] == nil {
				m.put(v, k, nil)
			}
		}
		for k, now := range all {
			m.put(v, k, now)
		}
	})
	m.once.Do(func() { close(m.synced) })
	return nil
}

// Resync would repeat every object to handlers; there are none.
func (m *mirror[P, T]) Resync() error { return nil }

// put sets one object in the view. now is nil where it is gone or of no interest.
func (m *mirror[P, T]) put(v *view, k key, now *T) {
	old := m.items[k]
	if old == nil && now == nil {
		return
	}
	m.set(v, k, old, now)
	if now == nil {
		delete(m.items, k)
		return
	}
	m.items[k] = now
}

// Transformer strips the objects of a first list, which are all held at once.
func (m *mirror[P, T]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, err := meta.Accessor(obj); err == nil {
			o.SetManagedFields(nil)
			o.SetAnnotations(nil)
		}
		if pod, ok := obj.(*corev1.Pod); ok {
			pod.Spec = corev1.PodSpec{}
		}
		return obj, nil
	}
}
