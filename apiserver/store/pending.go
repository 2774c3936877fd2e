package store

import (
	"bytes"
	"slices"
	"sync"

	"orrery.example.org/api"
)

// pending are the writes that the watch has not told of yet. It tells of our own
// writes, too: what the writer has decoded need not be decoded again, and writer and
// cache hold the same version.
type pending struct {
	mu     sync.Mutex
	writes map[string][]*pendingWrite // by path; hardly ever more than one
}

// pendingWrite is forgotten when its writer has his answer and the watch has told.
type pendingWrite struct {
	value   []byte
	object  api.Object // value, decoded; nobody else has it
	version *Version   // object with its revision, once that is known
	told    bool       // by the watch
}

// add announces a write. done or drop must follow.
func (p *pending) add(path string, value []byte, object api.Object) *pendingWrite {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writes == nil {
		p.writes = map[string][]*pendingWrite{}
	}
	w := &pendingWrite{value: value, object: object}
	p.writes[path] = append(p.writes[path], w)
	return w
}

// done is what the writer got: the version at its revision.
func (p *pending) done(path string, w *pendingWrite, revision int64) *Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.version == nil {
		// Two writers of the same bytes: the watch may have taken it for the other's.
		for _, other := range p.writes[path] {
			if other.told && other.version.Revision == revision {
				p.forget(path, w)
				return other.version
			}
		}
		w.version = newVersion(w.object, revision)
	}
	if w.told {
		p.forget(path, w)
	}
	return w.version
}

// newer is what was written last, if the cache has not been told yet, else what it has.
func (p *pending) newer(path string, cached *Version) *Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	newest := cached
	for _, w := range p.writes[path] {
		if w.version != nil && (newest == nil || w.version.Revision > newest.Revision) {
			newest = w.version
		}
	}
	return newest
}

// drop forgets a write that failed, or of which nobody knows what became.
func (p *pending) drop(path string, failed *pendingWrite) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(path, failed)
}

// take is the version that the watch tells of, if it is one of ours.
func (p *pending) take(path string, value []byte, revision int64) *Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ours *pendingWrite
	for _, w := range slices.Clone(p.writes[path]) {
		switch {
		case w.version != nil && w.version.Revision == revision && !w.told:
			p.forget(path, w)
			return w.version
		case w.version != nil && w.version.Revision < revision && !w.told:
			p.forget(path, w) // was told as another's of the same bytes
		case w.version == nil && bytes.Equal(w.value, value):
			ours = w
		}
	}
	if ours == nil {
		return nil
	}
	ours.told, ours.version = true, newVersion(ours.object, revision)
	return ours.version
}

func (p *pending) forget(path string, done *pendingWrite) {
	left := slices.DeleteFunc(p.writes[path], func(w *pendingWrite) bool { return w == done })
	if len(left) == 0 {
		delete(p.writes, path)
	} else {
		p.writes[path] = left
	}
}

// clear forgets all: the watch has broken off and will not tell.
func (p *pending) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = nil
}
