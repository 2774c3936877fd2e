package console

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Read copies the log to w as the options say. With Follow it goes on until the
// container has ended or ctx is cancelled.
func (l *Log) Read(ctx context.Context, options *corev1.PodLogOptions, now time.Time, w io.Writer) error {
	file, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if options.TailLines != nil {
		if err := seekTail(file, *options.TailLines); err != nil {
			return fmt.Errorf("find the last lines: %w", err)
		}
	}
	out := newSelection(options, now, w)
	in := bufio.NewReader(file)
	var partial []byte // of a line that is being written
	for {
		// Asked for before reading, so that no write between the two is missed.
		changed, more := l.next()
		newest := l.isNewest(file)
		for {
			line, err := in.ReadBytes('\n')
			partial = append(partial, line...)
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read log: %w", err)
			}
			if err != nil {
				break
			}
			if done, err := out.line(partial); done || err != nil {
				return err
			}
			partial = partial[:0]
		}
		if options.Follow && !newest { // nothing more is written to this file
			_ = file.Close()
			if file, err = os.Open(l.path); err != nil {
				return fmt.Errorf("open log: %w", err)
			}
			in.Reset(file)
			continue
		}
		if !options.Follow || !more {
			return nil
		}
		if f, ok := w.(interface{ Flush() }); ok {
			f.Flush()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// seekTail moves to where the last n lines begin.
func seekTail(file *os.File, n int64) error {
	total, err := countLines(file)
	if err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in, offset := bufio.NewReader(file), int64(0)
	for range total - n {
		for {
			piece, err := in.ReadSlice('\n')
			offset += int64(len(piece))
			if err == nil {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return err
			}
		}
	}
	_, err = file.Seek(offset, io.SeekStart)
	return err
}

func countLines(r io.Reader) (int64, error) {
	var count int64
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		count += int64(bytes.Count(buffer[:n], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// selection writes those lines, in that form, that a reader asked for.
type selection struct {
	w          io.Writer
	since      time.Time
	timestamps bool
	stream     string // "": all
	limit      int64  // bytes left; negative: no limit
}

func newSelection(o *corev1.PodLogOptions, now time.Time, w io.Writer) *selection {
	s := &selection{w: w, timestamps: o.Timestamps, limit: -1}
	switch {
	case o.SinceSeconds != nil:
		s.since = now.Add(-time.Duration(*o.SinceSeconds) * time.Second)
	case o.SinceTime != nil:
		s.since = o.SinceTime.Time
	}
	if o.LimitBytes != nil {
		s.limit = *o.LimitBytes
	}
	if o.Stream != nil {
		switch *o.Stream {
		case corev1.LogStreamStdout:
			s.stream = "stdout"
		case corev1.LogStreamStderr:
			s.stream = "stderr"
		}
	}
	return s
}

// line handles one line of the file. done says that the reader wants no more.
func (s *selection) line(raw []byte) (done bool, err error) {
	entry, ok := parseEntry(raw)
	if !ok || entry.at.Before(s.since) || s.stream != "" && s.stream != string(entry.stream) {
		return false, nil // a line that a full disk mangled is skipped
	}
	text := entry.text
	if s.timestamps {
		text = append(append(bytes.Clone(entry.stamp), ' '), text...)
	}
	if s.limit >= 0 && int64(len(text)) >= s.limit {
		text, done = text[:s.limit], true
	}
	n, err := s.w.Write(text)
	if s.limit >= 0 {
		s.limit -= int64(n)
	}
	return done, err
}

// entry is a parsed line. text ends in a newline unless the line was only a part.
type entry struct {
	at            time.Time
	stamp, stream []byte
	text          []byte
}

func parseEntry(raw []byte) (entry, bool) {
	parts := bytes.SplitN(raw, []byte{' '}, 4)
	if len(parts) != 4 || len(parts[2]) != 1 {
		return entry{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(parts[0]))
	if err != nil {
		return entry{}, false
	}
	text := parts[3]
	if parts[2][0] == 'P' {
		text = bytes.TrimSuffix(text, []byte{'\n'})
	}
	return entry{at, parts[0], parts[1], text}, true
}
