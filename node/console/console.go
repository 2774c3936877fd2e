package console

import (
	"context"
	"errors"
	"io"
	"sync"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// Console is the standard streams of one run of a container.
type Console struct {
	Log *Log

	stdout, stderr *lines
	stdinOnce      bool
	stdin          *io.PipeReader // nil: the container has none
	stdinWriter    *io.PipeWriter
	resize         chan remotecommand.TerminalSize
	closed         chan struct{}

	mu      sync.Mutex
	clients map[*client]bool
}

// client is someone attached.
type client struct{ out, err io.Writer }

// New opens the console of a run that logs to path. stdin and once are the
// container's fields of those names.
func New(path string, limits Limits, stdin, once bool) (*Console, error) {
	log, err := CreateLog(path, limits)
	if err != nil {
		return nil, err
	}
	c := &Console{
		Log:       log,
		stdout:    &lines{log: log, stream: "stdout"},
		stderr:    &lines{log: log, stream: "stderr"},
		stdinOnce: once,
		resize:    make(chan remotecommand.TerminalSize),
		closed:    make(chan struct{}),
	}
	if stdin {
		c.stdin, c.stdinWriter = io.Pipe()
	}
	return c, nil
}

// Stdin is what attached clients type, or nil.
func (c *Console) Stdin() io.Reader {
	if c.stdin == nil {
		return nil // and not a *io.PipeReader that is nil
	}
	return c.stdin
}

// Resize tells the size of the attached client's terminal.
func (c *Console) Resize() <-chan remotecommand.TerminalSize { return c.resize }

// Stdout takes what the program says.
func (c *Console) Stdout() io.Writer {
	return &tee{c, c.stdout, func(to *client) io.Writer { return to.out }}
}

// Stderr takes what the program complains about.
func (c *Console) Stderr() io.Writer {
	return &tee{c, c.stderr, func(to *client) io.Writer { return to.err }}
}

// Close ends the log and lets go of all clients: the program has ended.
func (c *Console) Close() error {
	c.stdout.flush()
	c.stderr.flush()
	close(c.closed)
	if c.stdin != nil {
		_ = c.stdin.Close() // both never fail
		_ = c.stdinWriter.Close()
	}
	return c.Log.Close()
}

// Attach connects a client until the program ends or the client goes away. Each
// stream, and resize, may be nil.
func (c *Console) Attach(ctx context.Context, in io.Reader, out, err io.Writer, resize <-chan remotecommand.TerminalSize) error {
	if in != nil && c.stdin == nil {
		return errors.New("the container was started without stdin")
	}
	me := &client{out, err}
	c.mu.Lock()
	if c.clients == nil {
		c.clients = map[*client]bool{}
	}
	c.clients[me] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.clients, me)
		c.mu.Unlock()
	}()
	if in != nil {
		// Not waited for: it may block reading from the client, whose connection
		// is closed when Attach has returned.
		go func() {
			_, _ = io.Copy(c.stdinWriter, in) // ends with either side
			if c.stdinOnce {
				_ = c.stdinWriter.Close()
			}
		}()
	}
	for {
		select {
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			select {
			case c.resize <- size:
			case <-c.closed: // or has no terminal
			case <-ctx.Done():
			}
		case <-c.closed:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// tee writes to the log and to every client.
type tee struct {
	console *Console
	log     *lines
	of      func(*client) io.Writer
}

func (t *tee) Write(p []byte) (int, error) {
	t.console.mu.Lock()
	for client := range t.console.clients {
		if w := t.of(client); w != nil {
			_, _ = w.Write(p) // a client that left is noticed where it was attached
		}
	}
	t.console.mu.Unlock()
	return t.log.Write(p)
}
