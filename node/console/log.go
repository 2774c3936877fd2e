// Package console is the standard streams of one run of a container: its log, the
// clients attached to it, and its standard input.
//
// Upstream counterpart: the container runtime's log files, whose format (CRI) this
// is, and kubelet's reader of them. In flow the bytes that a program writes; out flow
// what kubectl logs and kubectl attach show. Left out: rotation by size.
package console

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxLine is the longest piece of a line that is written at once, as in containerd.
const maxLine = 16 << 10

// Log is a log file in CRI format: time, stream, F (a full line) or P (a part of
// one), text. Safe for concurrent use.
type Log struct {
	path string

	mu      sync.Mutex
	file    *os.File      // nil when closed
	changed chan struct{} // closed at the next write; nil while nobody follows
}

// CreateLog starts a new log.
func CreateLog(path string) (*Log, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	return &Log{path: path, file: file}, nil
}

// write appends one line, or a part of one, and wakes the followers.
func (l *Log) write(stream string, tag byte, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	// A full disk must not stop the program; upstream's runtime drops lines as well.
	_, _ = fmt.Fprintf(l.file, "%s %s %c %s\n", time.Now().UTC().Format(time.RFC3339Nano), stream, tag, text)
	l.wake()
}

func (l *Log) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Close ends the log; its followers end when they have read it all.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	l.wake()
	return err
}

// next returns a channel that is closed at the next write, and whether there can be
// another one.
func (l *Log) next() (<-chan struct{}, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil, false
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed, true
}

// lines cuts a stream into lines of the log.
type lines struct {
	log    *Log
	stream string

	mu   sync.Mutex
	rest []byte // begins a line
}

var _ io.Writer = (*lines)(nil)

func (w *lines) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for data := p; len(data) > 0; {
		line, rest, full := bytes.Cut(data, []byte{'\n'})
		w.rest, data = append(w.rest, line...), rest
		for len(w.rest) > maxLine {
			w.log.write(w.stream, 'P', w.rest[:maxLine])
			w.rest = append(w.rest[:0], w.rest[maxLine:]...)
		}
		if full {
			w.log.write(w.stream, 'F', w.rest)
			w.rest = w.rest[:0]
		}
	}
	return len(p), nil
}

// flush writes a last line that lacks its end.
func (w *lines) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.log.write(w.stream, 'P', w.rest)
		w.rest = nil
	}
}
