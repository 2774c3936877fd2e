package apiserver

import (
	"net/http"
	"sync"
	"time"
)

// stallTimeout is how long a client may take to read a few kilobytes. One that has
// stopped reading would otherwise keep its request, and what that holds, for ever: the
// network sees nothing wrong with it.
const stallTimeout = 30 * time.Second

// patience ends writes to a client that take too long.
type patience struct {
	limit   time.Duration
	control *http.ResponseController
	timer   *time.Timer

	mu      sync.Mutex
	writing bool // while it is false the answer may be over, and control must rest
}

func newPatience(w http.ResponseWriter, limit time.Duration) *patience {
	return &patience{limit: limit, control: http.NewResponseController(w)}
}

// during runs a write, and makes it fail when the time is up.
func (p *patience) during(write func() error) error {
	p.set(true)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, p.lose)
	} else {
		p.timer.Reset(p.limit)
	}
	err := write()
	p.timer.Stop()
	p.set(false)
	return err
}

func (p *patience) set(writing bool) {
	p.mu.Lock()
	p.writing = writing
	p.mu.Unlock()
}

// lose fails the write that is going on: over HTTP/1 it cuts the connection, over HTTP/2
// it resets the one stream.
func (p *patience) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing {
		_ = p.control.SetWriteDeadline(time.Now().Add(-time.Second)) // a test's writer may have none
	}
}

// end bounds the last write, which net/http does after us; before the connection's next
// request it takes the deadline back.
func (p *patience) end() { _ = p.control.SetWriteDeadline(time.Now().Add(p.limit)) }
