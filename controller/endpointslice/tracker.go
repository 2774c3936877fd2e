package endpointslice

import (
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"orrery.example.org/controller/loop"
)

// trackerTimeout is how long a write may stay unseen before we believe the cache again.
// Only a watch that skipped it gets here: made and deleted by others during a relist.
const trackerTimeout = time.Minute

// tracker remembers the slices we wrote until the cache shows them. Acting on a cache
// that lacks a slice just made would make the slice again, under another name.
type tracker struct {
	mu sync.Mutex
	of map[loop.Name]*written
}

// written is what we wrote for one Service and have not seen yet.
type written struct {
	versions map[types.UID]string // resourceVersion, or gone
	at       time.Time
	waiting  bool // a sync gave up because of this and must be called again
}

const gone = ""

func newTracker() *tracker { return &tracker{of: map[loop.Name]*written{}} }

// wrote says that the API server answered a write with this slice.
func (t *tracker) wrote(svc loop.Name, slice *discoveryv1.EndpointSlice) {
	t.note(svc, slice.UID, slice.ResourceVersion)
}

// deleted says that the API server took the deletion of this slice.
func (t *tracker) deleted(svc loop.Name, slice *discoveryv1.EndpointSlice) {
	t.note(svc, slice.UID, gone)
}

func (t *tracker) note(svc loop.Name, uid types.UID, version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.of[svc]
	if w == nil {
		w = &written{versions: map[types.UID]string{}}
		t.of[svc] = w
	}
	w.versions[uid], w.at = version, time.Now()
}

// stale reports whether the cached slices of a Service are older than our own writes.
// If so, the next event that saw is told about asks for another sync.
func (t *tracker) stale(svc loop.Name, cached []*discoveryv1.EndpointSlice) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.of[svc]
	if w == nil {
		return false
	}
	if time.Since(w.at) > trackerTimeout {
		delete(t.of, svc)
		return false
	}
	have := map[types.UID]string{}
	for _, slice := range cached {
		have[slice.UID] = slice.ResourceVersion
	}
	for uid, version := range w.versions {
		cachedVersion, ok := have[uid]
		if ok != (version != gone) || ok && older(cachedVersion, version) {
			w.waiting = true
			return true
		}
	}
	return false
}

// saw takes note of a slice in an event (isGone: its deletion) and reports whether the
// Service must be looked at: somebody else wrote the slice, or a sync is waiting.
func (t *tracker) saw(svc loop.Name, slice *discoveryv1.EndpointSlice, isGone bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.of[svc]
	if w == nil {
		return true
	}
	version, ours := w.versions[slice.UID]
	foreign := !ours
	switch {
	case !ours:
	case isGone:
		foreign = version != gone
		delete(w.versions, slice.UID)
	case version == gone || older(slice.ResourceVersion, version):
		// An event of before our write.
	default:
		foreign = slice.ResourceVersion != version
		delete(w.versions, slice.UID) // the cache has caught up and never goes back
	}
	again := foreign || w.waiting
	w.waiting = w.waiting && !again
	if len(w.versions) == 0 {
		delete(t.of, svc)
	}
	return again
}

// forget drops a Service that is gone.
func (t *tracker) forget(svc loop.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, svc)
}

func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
