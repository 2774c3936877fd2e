package store

import (
	"slices"
	"sync"
	"time"
)

// How much of a kind's history is kept: everything for a while, and then as many
// events as do no harm. A watch that resumes from before that is told 410.
const (
	historyAge = 75 * time.Second // upstream's eventFreshDuration
	historyMin = 512
	historyMax = 16384
)

// feed is the recent history of one kind, and those who wait for it to go on. The
// history is shared: a watcher holds no events of its own, only its place.
type feed struct {
	mu     sync.Mutex
	events []moment // oldest first; the first forgotten ones are zero and not counted
	head   int      // index of the oldest event kept
	base   int64    // place of events[0]: how many events were before it
	oldest int64    // the history is complete after this revision

	idle []*Watcher // have had everything and wait
	end  error      // not nil: the feed ended, and why
}

// moment is an event and when it came.
type moment struct {
	Event
	at time.Time
}

func newFeed(revision int64) *feed { return &feed{oldest: revision} }

func (f *feed) last() int64 { return f.base + int64(len(f.events)) } // the place after the newest event

// append adds events and wakes those they concern.
func (f *feed) append(events []Event, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		place := f.last()
		f.events = append(f.events, moment{e, now})
		idle := f.idle[:0]
		for _, w := range f.idle {
			if w.concerns(&e) {
				w.place, w.idle = place, false
				w.wake()
			} else {
				idle = append(idle, w)
			}
		}
		clear(f.idle[len(idle):])
		f.idle = idle
	}
	f.forget(now)
}

// forget drops what is too old or too much.
func (f *feed) forget(now time.Time) {
	for n := len(f.events) - f.head; n > historyMin; n-- {
		if e := &f.events[f.head]; n <= historyMax && now.Sub(e.at) < historyAge {
			break
		}
		f.oldest = f.events[f.head].Version.Revision
		f.events[f.head] = moment{}
		f.head++
	}
	if f.head > len(f.events)/2 && f.head > historyMin {
		f.base += int64(f.head)
		f.events = slices.Delete(f.events, 0, f.head)
		f.head = 0
	}
}

// after finds the place of the first event after a revision.
func (f *feed) after(revision int64) (place int64, ok bool) {
	if revision < f.oldest {
		return 0, false
	}
	i, _ := slices.BinarySearchFunc(f.events[f.head:], revision+1, func(e moment, r int64) int {
		return int(e.Version.Revision - r)
	})
	return f.base + int64(f.head+i), true
}

// between returns the events after from, up to and including to.
func (f *feed) between(from, to int64) ([]Event, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	place, ok := f.after(from)
	if !ok {
		return nil, false
	}
	var events []Event
	for _, e := range f.events[place-f.base:] {
		if e.Version.Revision > to {
			break
		}
		events = append(events, e.Event)
	}
	return events, true
}

// prepend puts history from before the oldest event in front: complete after revision.
func (f *feed) prepend(events []Event, revision int64, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.base != 0 || f.head != 0 || revision >= f.oldest {
		return // meanwhile something was forgotten: there is no seam any more
	}
	front := make([]moment, 0, len(events)+len(f.events))
	for _, e := range events {
		front = append(front, moment{e, now})
	}
	f.base = -int64(len(front)) // so that everybody keeps his place
	f.events = append(front, f.events...)
	f.oldest = revision
}

// close ends all watchers. The next history is another feed.
func (f *feed) close(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end = err
	for _, w := range f.idle {
		w.wake()
	}
	f.idle = nil
}

// join places a watcher after a revision.
func (f *feed) join(w *Watcher, revision int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		return f.end
	}
	place, ok := f.after(revision)
	if !ok {
		return errOldWatch(revision, f.oldest)
	}
	w.feed, w.place, w.after = f, place, revision
	return nil
}

// maxBatch bounds what a watcher takes at once.
const maxBatch = 256

// take returns what the watcher has not had yet. If that is nothing, the watcher is
// woken when there is something.
func (f *feed) take(w *Watcher) ([]Notice, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		return nil, f.end
	}
	if w.idle || w.gone {
		return nil, nil
	}
	if w.place < f.base+int64(f.head) {
		return nil, ErrSlow
	}
	var batch []Notice
	for ; w.place < f.last() && len(batch) < maxBatch; w.place++ {
		e := &f.events[w.place-f.base].Event
		if e.Version.Revision > w.after && w.concerns(e) {
			batch = append(batch, Notice{Event: *e})
		}
	}
	if len(batch) == 0 {
		w.idle = true
		f.idle = append(f.idle, w)
	}
	return batch, nil
}

// leave forgets a watcher.
func (f *feed) leave(w *Watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.gone = true
	if i := slices.Index(f.idle, w); i >= 0 {
		f.idle = slices.Delete(f.idle, i, i+1)
	}
}
