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

	stdout, stderr *lines // nil: another process writes the log
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

// New makes the console of a run. stdin and once are the container's fields of those names.
func New(log *Log, stdin, once bool) *Console {
	c := Watch(log, stdin, once)
	c.stdout, c.stderr = &lines{log: log, stream: "stdout"}, &lines{log: log, stream: "stderr"}
	return c
}

// Watch is the console of a run whose log another process writes.
func Watch(log *Log, stdin, once bool) *Console {
	c := &Console{
		Log:       log,
		stdinOnce: once,
		resize:    make(chan remotecommand.TerminalSize),
		closed:    make(chan struct{}),
	}
	if stdin {
		c.stdin, c.stdinWriter = io.Pipe()
	}
	return c
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
	if c.stdout != nil {
		c.stdout.flush()
		c.stderr.flush()
	}
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
	defer c.Listen(out, err)()
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
			c.SetSize(ctx, size)
		case <-c.closed:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// Listen shows somebody what the program writes, until it is told to leave. Each of the
// streams may be nil.
func (c *Console) Listen(out, err io.Writer) (leave func()) {
	me := &client{out, err}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients == nil {
		c.clients = map[*client]bool{}
	}
	c.clients[me] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.clients, me)
	}
}

// SetSize tells the program the size of its terminal.
func (c *Console) SetSize(ctx context.Context, size remotecommand.TerminalSize) {
	select {
	case c.resize <- size:
	case <-c.closed: // or has no terminal
	case <-ctx.Done():
	}
}

// tee writes to the log and to every client.
type tee struct {
	console *Console
	log     *lines
	of      func(*client) io.Writer
}

func (t *tee) Write(p []byte) (int, error) {
	if t.log != nil { // first: clients may look into it
		_, _ = t.log.Write(p) // never fails
	} else {
		t.console.Log.Wake()
	}
	t.console.mu.Lock()
	defer t.console.mu.Unlock()
	for client := range t.console.clients {
		if w := t.of(client); w != nil {
			_, _ = w.Write(p) // a client that left is noticed where it was attached
		}
	}
	return len(p), nil
}
