package store

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/watch"
)

// recallRevisions is how much history is read at the start.
const recallRevisions = 1000

// recall fills the feeds with what happened before the caches were loaded, so that
// clients resume their watches over a restart of the API server instead of listing
// everything again. It is a convenience: where etcd can't help, they list.
//
// Kubernetes: a restarted kube-apiserver answers 410 to them.
func (s *Store) recall(ctx context.Context, until int64) {
	defer close(s.recalled)
	h := &history{store: s, since: max(until-recallRevisions, 1), until: until}
	for h.since < until {
		err := h.read(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, errCompactedAt) {
			s.log.Debug("the history from before the start is not known", "error", err)
			return
		}
	}
	now := time.Now()
	for _, c := range s.kinds {
		c.feed.Load().prepend(h.events[c], h.since, now)
	}
}

// history is what happened after since, up to and including until.
type history struct {
	store        *Store
	since, until int64
	events       map[*Collection][]Event
}

// errCompactedAt: since was too early, and is set to where etcd's history begins.
var errCompactedAt = errors.New("the history begins later")

// read collects the events by a watch of their own.
func (h *history) read(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.events = map[*Collection][]Event{}
	responses := h.store.client.Watch(ctx, h.store.prefix, clientv3.WithPrefix(), clientv3.WithPrevKV(),
		clientv3.WithRev(h.since+1), clientv3.WithProgressNotify())
	impatience := time.NewTicker(10 * patience)
	defer impatience.Stop()
	for {
		select {
		case r, ok := <-responses:
			switch {
			case !ok:
				return errors.New("the watch was closed")
			case r.CompactRevision > 0:
				h.since = r.CompactRevision
				return errCompactedAt
			case r.Err() != nil:
				return r.Err()
			case h.add(r.Events), r.IsProgressNotify() && r.Header.Revision >= h.until:
				return nil
			}
		case <-impatience.C: // the last revisions may be of keys that aren't ours
			h.store.nudge(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// add notes the events, and says whether that is all of them.
func (h *history) add(events []*clientv3.Event) (complete bool) {
	for _, e := range events {
		if e.Kv.ModRevision > h.until {
			return true
		}
		c, key := h.store.route(string(e.Kv.Key[len(h.store.prefix):]))
		if c == nil {
			continue
		}
		if event, ok := c.past(key, e); ok {
			h.events[c] = append(h.events[c], event)
			continue
		}
		// What went before is lost: the history begins after this event.
		h.since = e.Kv.ModRevision
		clear(h.events)
	}
	return len(events) > 0 && events[len(events)-1].Kv.ModRevision == h.until
}

// past makes an event of what etcd tells, which has to include what was before.
func (c *Collection) past(key string, e *clientv3.Event) (event Event, ok bool) {
	event = Event{Type: watch.Added, key: key}
	if !e.IsCreate() {
		if e.PrevKv == nil {
			return event, false
		}
		object, err := c.codec.decode(e.PrevKv.Value)
		if err != nil {
			return event, false
		}
		event.Type, event.Previous = watch.Modified, newVersion(object, e.PrevKv.ModRevision)
	}
	if e.Type == clientv3.EventTypeDelete {
		event.Type, event.Version = watch.Deleted, event.Previous.at(e.Kv.ModRevision)
		return event, true
	}
	object, err := c.codec.decode(e.Kv.Value)
	if err != nil {
		return event, false
	}
	event.Version = newVersion(object, e.Kv.ModRevision)
	return event, true
}
