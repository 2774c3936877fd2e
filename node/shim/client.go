package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Client is the agent's side. Safe for concurrent use.
type Client struct {
	dir string
	log *slog.Logger

	mu sync.Mutex // held while a shim is started
}

// Open finds the shim of a state directory, or starts one.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Client, error) {
	c := &Client{dir: dir, log: log}
	a, err := c.ask(ctx, request{Verb: verbList})
	switch {
	case err == nil && a.Version == Version:
		return c, nil
	case a.Version != 0 && a.Version != Version:
		log.Warn("the shim is of another version of this program: its containers end, and start anew", "shim", a.Version, "agent", Version)
		if err := End(ctx, dir); err != nil {
			return nil, err
		}
	case a.Version != 0:
		return nil, err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	return c, conn.Close()
}

// End ends the shim of a directory, with all its containers, if there is one.
func End(ctx context.Context, dir string) error {
	a, err := (&Client{dir: dir}).ask(ctx, request{Verb: verbEnd})
	if err != nil && a.Version == 0 {
		return nil // nobody listens
	}
	if err != nil {
		return fmt.Errorf("end the shim in %s: %w", dir, err)
	}
	for { // it has ended when its lock is free
		lock, err := os.Open(filepath.Join(dir, "shim.lock"))
		if err != nil {
			return err
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		_ = lock.Close()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// PID is the shim's process, for people.
func (c *Client) PID() string { return strings.TrimSpace(readFile(filepath.Join(c.dir, "shim.lock"))) }

func readFile(path string) string {
	data, _ := os.ReadFile(path) // no more than a hint
	return string(data)
}

// connect connects to the shim. If it has gone, another one is started.
func (c *Client) connect(ctx context.Context) (*net.UnixConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn, err := dial(ctx, c.dir); err == nil {
		return conn, nil
	}
	if err := spawn(c.dir); err != nil {
		return nil, fmt.Errorf("start a shim in %s: %w", c.dir, err)
	}
	return dial(ctx, c.dir)
}

// ask asks the shim that is there, if one is. The answer has a version if it answered.
func (c *Client) ask(ctx context.Context, q request) (answer, error) {
	conn, err := dial(ctx, c.dir)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	a, files, _, err := converse(conn, q)
	closeAll(files)
	return a, err
}

// converse sends a request and reads the first answer.
func converse(conn *net.UnixConn, q request, files ...*os.File) (a answer, got []*os.File, in *json.Decoder, err error) {
	q.Version = Version
	if err := send(conn, q, files...); err != nil {
		return a, nil, nil, err
	}
	if got, err = receiveFiles(conn); err != nil {
		return a, nil, nil, err
	}
	in = json.NewDecoder(conn)
	if err = in.Decode(&a); err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, got, in, err
}

// List lists what the shim has.
func (c *Client) List(ctx context.Context) (List, error) {
	a, err := c.ask(ctx, request{Verb: verbList})
	if err == nil && a.List == nil {
		err = errors.New("there is no list in the answer")
	}
	if err != nil {
		return List{}, fmt.Errorf("list what runs: %w", err)
	}
	return *a.List, nil
}

// Take returns a sandbox's files, and the mounts of each of its runs that go on, by id.
func (c *Client) Take(ctx context.Context, pod string) (box []*os.File, mounts map[string]*os.File, err error) {
	conn, err := dial(ctx, c.dir)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	a, files, _, err := converse(conn, request{Verb: verbTake, Pod: pod})
	if err == nil && len(files) < len(a.Mounts) {
		err = errors.New("files are missing")
	}
	if err != nil {
		closeAll(files)
		return nil, nil, fmt.Errorf("take the sandbox over: %w", err)
	}
	mounts = map[string]*os.File{}
	first := len(files) - len(a.Mounts)
	for i, id := range a.Mounts {
		mounts[id] = files[first+i]
	}
	return files[:first], mounts, nil
}

// Drop kills the runs of a Pod that go on, and forgets it. Where there is no shim, there
// is nothing to forget.
func (c *Client) Drop(ctx context.Context, pod string) error { return c.drop(ctx, request{Pod: pod}) }

// Kill kills one run, and forgets it.
func (c *Client) Kill(ctx context.Context, id string) error { return c.drop(ctx, request{ID: id}) }

func (c *Client) drop(ctx context.Context, q request) error {
	q.Verb = verbDrop
	if a, err := c.ask(ctx, q); err != nil && a.Version != 0 {
		return fmt.Errorf("forget %s%s: %w", q.Pod, q.ID, err)
	}
	return nil
}
