package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// fault remembers the first error that etcd could not go on from. etcd reports these
// by a fatal line in its log, which would end the process; here it ends the goroutine.
type fault struct {
	log  *slog.Logger
	c    chan struct{} // closed when err is set
	once sync.Once
	err  error
}

func newFault(log *slog.Logger) *fault {
	return &fault{log: log.With("component", "etcd"), c: make(chan struct{})}
}

func (f *fault) get() error {
	select {
	case <-f.c:
		return f.err
	default:
		return nil
	}
}

// logger is etcd's logger.
func (f *fault) logger() *zap.Logger {
	return zap.New(&slogCore{log: f.log}, zap.WithFatalHook(f), zap.WithPanicHook(f))
}

// OnWrite is called after a fatal line was written.
func (f *fault) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.once.Do(func() {
		f.err = errors.New("etcd: " + entry.Message)
		for _, field := range fields {
			if cause, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
				f.err = fmt.Errorf("etcd: %s: %w", entry.Message, cause)
			}
		}
		close(f.c)
	})
	runtime.Goexit()
}

// slogCore sends etcd's log lines to slog. What etcd tells and warns its operators of
// is detail here: most of it speaks of ports, peers and tokens that there are none of.
type slogCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func slogLevel(level zapcore.Level) slog.Level {
	if level <= zapcore.WarnLevel {
		return slog.LevelDebug
	}
	return slog.LevelError
}

func (c *slogCore) Enabled(level zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slogLevel(level))
}

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: c.log, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

func (c *slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	encoded := zapcore.NewMapObjectEncoder()
	for _, set := range [][]zapcore.Field{c.fields, fields} {
		for _, field := range set {
			field.AddTo(encoded)
		}
	}
	attrs := make([]slog.Attr, 0, len(encoded.Fields))
	for key, value := range encoded.Fields {
		attrs = append(attrs, slog.Any(key, value))
	}
	c.log.LogAttrs(context.Background(), slogLevel(entry.Level), entry.Message, attrs...)
	return nil
}

func (c *slogCore) Sync() error { return nil }
