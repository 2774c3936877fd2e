package store

import (
	"bytes"
	"sync"

	"orrery.example.org/api"
)

// pending are the writes under way. The watch tells of our own writes, too; what the
// writer has decoded need not be decoded again, and writer and cache hold the same
// version.
type pending struct {
	mu     sync.Mutex
	writes map[string]*pendingWrite // by path
}

type pendingWrite struct {
	value   []byte
	object  api.Object // value, decoded; nobody else has it
	version *Version   // object with its revision, once that is known
}

// add announces a write.
func (p *pending) add(path string, value []byte, object api.Object) *pendingWrite {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writes == nil {
		p.writes = map[string]*pendingWrite{}
	}
	w := &pendingWrite{value: value, object: object}
	p.writes[path] = w
	return w
}

// done is what the writer got: the version at its revision.
func (p *pending) done(w *pendingWrite, revision int64) *Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.version == nil {
		w.version = newVersion(w.object, revision)
	}
	return w.version
}

// drop forgets a write that failed, or that nobody knows of what became.
func (p *pending) drop(path string, w *pendingWrite) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writes[path] == w {
		delete(p.writes, path)
	}
}

// take is the version that the watch tells of, if it is one of ours.
func (p *pending) take(path []byte, value []byte, revision int64) *Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.writes[string(path)]
	if w == nil || w.version != nil && w.version.Revision != revision || !bytes.Equal(w.value, value) {
		return nil
	}
	delete(p.writes, string(path))
	if w.version == nil {
		w.version = newVersion(w.object, revision)
	}
	return w.version
}

// clear forgets all: the watch has broken off and will not tell.
func (p *pending) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = nil
}
