// Package console is the standard streams of one run of a container: its log, the
// clients attached to it, and its standard input.
//
// Upstream counterpart: the container runtime's log files, whose format (CRI) this
// is, and kubelet's reader of them. In flow the bytes that a program writes; out flow
// what kubectl logs and kubectl attach show. Left out: compression of old files.
package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// maxLine is the longest piece of a line that is written at once, as in containerd.
const maxLine = 16 << 10

// Limits of a log. A file that would become larger is put aside for a new one; beyond so
// many files the oldest goes. Readers see the newest file only, as with kubelet.
//
// Kubernetes: kubelet looks at the sizes every 10 s, and compresses the older files.
type Limits struct {
	Size  int64 // bytes; 0: none
	Files int   // at least 2
}

// Log is a log file in CRI format: time, stream, F (a full line) or P (a part of
// one), text. Safe for concurrent use.
type Log struct {
	path   string
	limits Limits

	mu        sync.Mutex
	ended     bool          // nothing more is written
	file      *os.File      // nil: another process writes, or it has ended
	size      int64         // of the file
	rotations int           // how many were put aside
	changed   chan struct{} // closed at the next write; nil while nobody follows
}

// CreateLog starts a new log.
func CreateLog(path string, limits Limits) (*Log, error) {
	file, err := create(path)
	if err != nil {
		return nil, err
	}
	return &Log{path: path, limits: limits, file: file}, nil
}

// WatchLog is a log that another process writes. Whoever hears of a write calls Wake.
func WatchLog(path string) *Log { return &Log{path: path} }

// Wake tells the followers that something was written.
func (l *Log) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake()
}

func create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o640)
}

// RemoveLog removes a log with what was put aside.
func RemoveLog(path string) {
	aside, _ := filepath.Glob(path + ".*") // the pattern is fine
	for _, file := range append(aside, path) {
		_ = os.Remove(file) // mostly there is none
	}
}

// write appends one line, or a part of one, and wakes the followers.
func (l *Log) write(stream string, tag byte, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	line := fmt.Appendf(nil, "%s %s %c %s\n", time.Now().UTC().Format(time.RFC3339Nano), stream, tag, text)
	if l.limits.Size > 0 && l.size > 0 && l.size+int64(len(line)) > l.limits.Size {
		l.rotate()
	}
	// A full disk must not stop the program; upstream's runtime drops lines as well.
	n, _ := l.file.Write(line)
	l.size += int64(n)
	l.wake()
}

// rotate puts the file aside. Where that fails, it grows. There is always a file of the
// log's name, for readers who may be in another process.
func (l *Log) rotate() {
	aside, next := func(n int) string { return l.path + "." + strconv.Itoa(n) }, l.path+".next"
	file, err := create(next)
	if err != nil {
		return
	}
	if err = os.Link(l.path, aside(l.rotations+1)); err == nil {
		err = os.Rename(next, l.path)
	}
	if err != nil {
		_ = errors.Join(file.Close(), os.Remove(next), os.Remove(aside(l.rotations+1))) // what there is of them
		return
	}
	_ = l.file.Close() // each line was written as it came
	l.file, l.size = file, 0
	l.rotations++
	_ = os.Remove(aside(l.rotations - l.limits.Files + 1)) // at first there is none
}

// isNewest says whether a file is the one that is written to.
func (l *Log) isNewest(file *os.File) bool {
	newest, err := os.Stat(l.path)
	own, err2 := file.Stat()
	return err != nil || err2 != nil || os.SameFile(newest, own)
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
	l.ended = true
	l.wake()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// next returns a channel that is closed at the next write, and whether there can be
// another one.
func (l *Log) next() (changed <-chan struct{}, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
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
