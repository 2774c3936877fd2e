package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"orrery.example.org/node/sandbox"
)

// Run runs a program in a place to its end, as the place's own Run does, but for its
// streams: what it writes is in the log already. When leave is closed, the program goes
// on, and the error is ErrLeft. Cancelling ctx kills it.
func (c *Client) Run(ctx context.Context, leave <-chan struct{}, box *sandbox.Sandbox, place *sandbox.Place, s Start, p sandbox.Process) error {
	conn, err := c.connect(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	mounts, layer, cgroup := place.Parts()
	s.Layer, s.Grouped = layer, cgroup != nil
	s.Argv, s.Env, s.Dir, s.User, s.TTY = p.Argv, p.Env, p.Dir, p.User, p.TTY
	files := append(box.Files(), mounts)
	if cgroup != nil {
		files = append(files, cgroup)
	}
	_, _, in, err := converse(conn, request{Verb: verbStart, Start: &s}, files...)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("ask the shim to start it: %w", err)
	}
	return c.watch(ctx, leave, conn, in, s.ID, place, p)
}

// Follow is Run for a program that runs already.
func (c *Client) Follow(ctx context.Context, leave <-chan struct{}, place *sandbox.Place, id string, p sandbox.Process) error {
	conn, err := dial(context.WithoutCancel(ctx), c.dir)
	if err != nil {
		return c.lost(place, err)
	}
	_, _, in, err := converse(conn, request{Verb: verbFollow, ID: id})
	if err != nil {
		_ = conn.Close()
		return c.lost(place, err)
	}
	return c.watch(ctx, leave, conn, in, id, place, p)
}

// lost ends what is left of a run whose shim has gone.
func (c *Client) lost(place *sandbox.Place, err error) error {
	c.log.Warn("the shim does not answer: its container ends", "err", err)
	if err := place.KillAll(); err != nil {
		return err
	}
	return Lost
}

// watch passes on what the agent wants from a run, until that has ended.
func (c *Client) watch(ctx context.Context, leave <-chan struct{}, conn *net.UnixConn, in *json.Decoder, id string, place *sandbox.Place, p sandbox.Process) error {
	defer place.Ended()
	told, failed := make(chan answer), make(chan error, 1)
	ended := make(chan struct{})
	defer func() {
		_ = conn.Close()
		<-ended
	}()
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(ended)
		for {
			var a answer
			if err := in.Decode(&a); err != nil {
				failed <- err
				return
			}
			select {
			case told <- a:
			case <-done:
				return
			}
		}
	}()
	if p.Stdin != nil {
		stdin, err := c.stdin(ctx, id, p.Stdin)
		if err == nil {
			defer stdin.Close()
		}
	}
	out, stop, resize, killed := json.NewEncoder(conn), p.Stop, p.Resize, ctx.Done()
	tell := func(o order) { _ = out.Encode(o) } // if the shim has gone, that is noticed below
	for {
		select {
		case a := <-told:
			switch {
			case a.Exit != nil:
				return a.Exit.Err()
			case a.PID != 0:
				place.Began(a.PID)
				if p.Started != nil {
					p.Started(a.PID)
					p.Started = nil
				}
			}
			_, _ = p.Stdout.Write(a.Out) // also nothing: there may be something in the log
			_, _ = p.Stderr.Write(a.Err)
		case err := <-failed:
			return c.again(ctx, leave, place, id, p, err)
		case <-stop:
			stop = nil
			if !over(leave) {
				tell(order{Signal: int(unix.SIGTERM)})
			}
		case <-killed:
			killed = nil
			if !over(leave) {
				tell(order{Signal: int(unix.SIGKILL)})
			}
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			tell(order{Size: &size})
		case <-leave:
			return ErrLeft
		}
	}
}

func over(leave <-chan struct{}) bool {
	select {
	case <-leave:
		return true
	default:
		return false
	}
}

// again follows a run once more after the connection was lost, if the shim is there.
func (c *Client) again(ctx context.Context, leave <-chan struct{}, place *sandbox.Place, id string, p sandbox.Process, why error) error {
	if over(leave) {
		return ErrLeft
	}
	c.log.Info("lost the connection to the shim", "err", why)
	return c.Follow(ctx, leave, place, id, p)
}

// stdin types into a run, as long as there is something to type. It ends with the
// connection that it returns; the reader may block until its client hangs up.
func (c *Client) stdin(ctx context.Context, id string, from io.Reader) (io.Closer, error) {
	conn, err := dial(context.WithoutCancel(ctx), c.dir)
	if err != nil {
		return nil, err
	}
	if err := send(conn, request{Version: Version, Verb: verbStdin, ID: id}); err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.Copy(conn, from)
		_ = conn.CloseWrite()
	}()
	return conn, nil
}
