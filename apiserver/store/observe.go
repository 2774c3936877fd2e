package store

import (
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
)

// Observer follows a kind at the pace of its cache. It is called by the one goroutine
// that follows etcd, before the clock shows the revision it is told of, and so is never
// behind: who waits for a revision waits for the observers, too. It must be quick, and
// may neither change objects nor call the store.
//
// Kubernetes: authorizers have informers, which are behind by however long they are.
type Observer interface {
	// Replace says that these are all objects. Nothing that was said before counts.
	Replace(objects []api.Object)
	// Change says that next took the place of previous. One of them may be nil.
	Change(previous, next api.Object)
}

// Observe adds an observer. It must be called before the store runs.
func (c *Collection) Observe(o Observer) { c.observers = append(c.observers, o) }

// replaced tells the observers of another state.
func (c *Collection) replaced(loaded state) {
	if len(c.observers) == 0 {
		return
	}
	objects := make([]api.Object, 0, loaded.Len())
	loaded.Ascend(func(i item) bool {
		objects = append(objects, i.version.Object)
		return true
	})
	for _, o := range c.observers {
		o.Replace(objects)
	}
}

// observed tells the observers of events, and returns them.
func (c *Collection) observed(events []Event) []Event {
	for _, o := range c.observers {
		for i := range events {
			o.Change(events[i].objects())
		}
	}
	return events
}

// objects are the event's two sides.
func (e *Event) objects() (previous, next api.Object) {
	if e.Previous != nil {
		previous = e.Previous.Object
	}
	if e.Type != watch.Deleted {
		next = e.Version.Object
	}
	return previous, next
}
