package loop

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Events writes what the loops tell people (`kubectl describe`) as Event objects.
// Recording never blocks a loop; when the API server cannot keep up, events are
// dropped.
type Events struct {
	broadcaster record.EventBroadcaster
	sink        *sink
}

// StartEvents starts the writer. Close ends it.
func StartEvents(ctx context.Context, client kubernetes.Interface) *Events {
	e := &Events{
		broadcaster: record.NewBroadcaster(record.WithContext(ctx)),
		sink:        newSink(ctx, client.CoreV1().Events("")),
	}
	e.broadcaster.StartRecordingToSink(e.sink)
	return e
}

// Recorder is how a component (the event's source) tells people something.
func (e *Events) Recorder(component string) record.EventRecorder {
	return e.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
}

// Close ends the writer and returns when no write is under way and none will start.
func (e *Events) Close() {
	e.broadcaster.Shutdown()
	e.sink.mu.Lock() // the broadcaster does not wait for its writer; the writer holds this lock
	defer e.sink.mu.Unlock()
	e.sink.closed = true
}

// sink is client-go's record.EventSink with a context and an end.
type sink struct {
	mu     sync.Mutex
	closed bool

	create, update func(*corev1.Event) (*corev1.Event, error)
	patch          func(*corev1.Event, []byte) (*corev1.Event, error)
}

func newSink(ctx context.Context, client typedcorev1.EventInterface) *sink {
	return &sink{
		create: func(e *corev1.Event) (*corev1.Event, error) {
			return client.CreateWithEventNamespaceWithContext(ctx, e)
		},
		update: func(e *corev1.Event) (*corev1.Event, error) {
			return client.UpdateWithEventNamespaceWithContext(ctx, e)
		},
		patch: func(e *corev1.Event, data []byte) (*corev1.Event, error) {
			return client.PatchWithEventNamespaceWithContext(ctx, e, data)
		},
	}
}

// Create writes a new event.
func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.write(e, func() (*corev1.Event, error) { return s.create(e) })
}

// Update replaces an event.
func (s *sink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.write(e, func() (*corev1.Event, error) { return s.update(e) })
}

// Patch raises the count of an event that happened again.
func (s *sink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.write(e, func() (*corev1.Event, error) { return s.patch(e, data) })
}

func (s *sink) write(e *corev1.Event, send func() (*corev1.Event, error)) (*corev1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return e, nil
	}
	return send()
}
