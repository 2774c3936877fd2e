package apiserver

import (
	"context"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

// minWatch is how long a watch lasts at least when the client sets no timeout; it
// ends at random before twice that, so that not all clients come back at once.
const minWatch = 30 * time.Minute

// watch streams the changes of a collection. Its life: the store hands out notices
// from the asked revision on; the selectors turn each into what the client should see
// of it; the stream writes that down. It ends when the client goes, when its time is
// up, when the server stops, or when the client reads too slowly. In all these cases
// the client comes back with the last resourceVersion it has seen.
func (h *handlers) watch(c *call) error {
	o, err := c.listOptions(true)
	if err != nil {
		return err
	}
	a, err := negotiateStream(c.r)
	if err != nil {
		return err
	}
	s, err := c.newStream(a)
	if err != nil {
		return err
	}
	s.sent = h.metrics.watches.WithLabelValues(c.version.Group, c.version.Version, c.kind.Resource)
	w, err := c.follow(o, h.stopping)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return h.carry(c, s, func(context.Context) error { return s.fail(err) }) // 410: the client must list anew
	}
	if err != nil {
		return err
	}
	defer w.Stop()
	return h.carry(c, s, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, watchTimeout(o.TimeoutSeconds))
		defer cancel()
		return s.deliver(ctx, w, o)
	})
}

// deliver writes what the watcher notices until one of the two ends, or the time is up.
func (s *stream) deliver(ctx context.Context, w *store.Watcher, o listOptions) error {
	for {
		batch, err := w.Next(ctx)
		if len(batch) == 0 {
			return s.end(err)
		}
		for _, n := range batch {
			if err := s.notice(n, o); err != nil {
				return s.fail(err)
			}
		}
		if s.flush() != nil { // once for all that has come
			return nil // the client has gone
		}
	}
}

func watchTimeout(seconds *int64) time.Duration {
	if seconds != nil && *seconds > 0 {
		return time.Duration(min(*seconds, int64(24*time.Hour/time.Second))) * time.Second
	}
	return minWatch + rand.N(minWatch)
}

// follow starts the store's watch. Without a resourceVersion it begins with ADDED events
// of what is there now, with "0" of what the cache has. sendInitialEvents=true asks for
// them explicitly, and for a bookmark at their end; false declines them.
func (c *call) follow(o listOptions, until <-chan struct{}) (*store.Watcher, error) {
	w := store.WatchOptions{
		Namespace: c.namespace,
		Name:      o.match.name(),
		Revision:  o.revision,
		Any:       o.ResourceVersion == "0",
		Initial:   o.SendInitialEvents != nil && *o.SendInitialEvents,
		Until:     until,
	}
	if o.SendInitialEvents != nil && !w.Initial && w.Revision == 0 {
		now, err := c.objects.List(c.ctx(), store.ListOptions{Limit: 1, AnyRevision: w.Any})
		if err != nil {
			return nil, err
		}
		w.Revision = now.Revision
	}
	return c.objects.Watch(c.ctx(), w)
}

// notice writes what the client should see of a notice, if anything.
func (s *stream) notice(n store.Notice, o listOptions) error {
	if n.Bookmark != 0 {
		if !o.AllowWatchBookmarks {
			return nil
		}
		return s.bookmark(n.Bookmark, n.InitialEnd)
	}
	kind, v := o.match.translate(n.Event)
	if v == nil {
		return nil
	}
	s.sent.Inc()
	return s.event(kind, v)
}

// translate turns a change into what somebody sees who only looks at the selected
// objects: one that starts to match appears, one that no longer does disappears. It
// returns nil for what he doesn't see at all.
func (m *matcher) translate(e store.Event) (watch.EventType, *store.Version) {
	if m.all() {
		return e.Type, e.Version
	}
	now := e.Type != watch.Deleted && m.matches(e.Version.Object)
	before := e.Previous != nil && m.matches(e.Previous.Object)
	switch {
	case now && before:
		return watch.Modified, e.Version
	case now:
		return watch.Added, e.Version
	case before && e.Type == watch.Deleted:
		return watch.Deleted, e.Version
	case before:
		// What the client gets is the object it knew, at the revision of the change.
		return watch.Deleted, showing(at(e.Previous.Object, e.Version.Revision))
	}
	return "", nil
}

// at is the object with another resourceVersion; a shallow copy.
func at(o api.Object, revision int64) api.Object {
	o = shallow(o)
	o.SetResourceVersion(strconv.FormatInt(revision, 10))
	return o
}

// shallow copies an object so that the fields of its metadata can be set; what they
// point at is still shared.
func shallow(o api.Object) api.Object {
	copied := reflect.New(reflect.TypeOf(o).Elem())
	copied.Elem().Set(reflect.ValueOf(o).Elem())
	return copied.Interface().(api.Object)
}

// bookmark makes an object that says nothing but how far the client has got.
func bookmark(v *api.Version, revision int64, initialEnd bool) *store.Version {
	o := v.New()
	o.SetResourceVersion(strconv.FormatInt(revision, 10))
	if initialEnd {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return showing(o)
}

// end closes the stream after the store did: silently if it only was too slow, so
// that the client resumes where it is.
func (s *stream) end(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return s.fail(err)
	}
	return nil
}

var statusGVK = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// fail ends the stream with an ERROR event.
func (s *stream) fail(err error) error {
	body, encodeErr := object(status(err), statusGVK, s.media)
	if encodeErr == nil {
		s.write(watch.Error, [][]byte{body})
		_ = s.flush()
	}
	return nil // the answer is 200 already
}

var _ http.Flusher = (*recorder)(nil)
