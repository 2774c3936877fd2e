package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"orrery.example.org/node/console"
	"orrery.example.org/node/sandbox"
)

// run is one run of a container's program.
type run struct {
	Start
	place   *sandbox.Place
	console *console.Console
	stop    context.Context
	// terminate says SIGTERM to the program, kill SIGKILL to all it started.
	terminate, kill func()
	up, done        chan struct{} // closed when the program was started, and when it has ended

	mu     sync.Mutex
	record Record
}

// start starts a run, of which the agent sent the files: the sandbox's, the place's
// mounts, and its cgroup if it has one.
func (k *keeper) start(s *Start, files []*os.File) (r *run, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	tail := 1
	if s.Grouped {
		tail++
	}
	if k.ending || k.runs[s.ID] != nil || len(files) <= tail {
		closeAll(files)
		return nil, fmt.Errorf("cannot start %s: the shim is ending, or knows a run of that id, or files are missing", s.For)
	}
	box, place := k.pods[s.Pod], sandbox.PlaceConfig{Name: s.For, HostPID: s.HostPID}
	boxFiles, mounts := files[:len(files)-tail], files[len(files)-tail]
	if s.Grouped {
		place.Cgroup = files[len(files)-1]
	}
	if box == nil {
		if box, err = sandbox.Restore(sandbox.Config{Name: s.For, Dir: s.Pod, HostIPC: s.HostIPC}, boxFiles); err != nil {
			closeAll(files[len(boxFiles):])
			return nil, err
		}
		k.pods[s.Pod] = box
	} else {
		closeAll(boxFiles)
	}
	log, err := console.CreateLog(s.Log, s.Limits)
	if err != nil {
		closeAll(files[len(boxFiles):])
		return nil, err
	}
	r = &run{Start: *s, up: make(chan struct{}), done: make(chan struct{}), record: Record{Start: *s}, console: console.New(log, s.Stdin, s.StdinOnce)}
	if r.place, err = box.RestorePlace(place, mounts, s.Layer); err != nil {
		return nil, errors.Join(err, r.console.Close())
	}
	var killed context.Context
	r.stop, r.terminate = context.WithCancel(context.Background())
	killed, r.kill = context.WithCancel(context.Background())
	maps.DeleteFunc(k.runs, func(_ string, old *run) bool { return old.Pod == s.Pod && old.For == s.For && old.over() })
	k.runs[s.ID] = r
	k.wait.Go(func() {
		r.execute(killed)
		if place.Cgroup != nil {
			_ = place.Cgroup.Close() // it was only a name
		}
		if err := r.place.Close(); err != nil {
			k.log.Error("clearing a container's place", "container", s.For, "err", err)
		}
		r.terminate()
		r.kill()
		close(r.done)
	})
	return r, nil
}

// execute runs the program to its end, and notes both.
func (r *run) execute(killed context.Context) {
	err := r.note(func(*Record) {}) // before there is a process that nobody would know
	if err == nil {
		err = r.place.Run(killed, sandbox.Process{
			Main: true, Argv: r.Argv, Env: r.Env, Dir: r.Dir, User: r.User, TTY: r.TTY,
			Stdin: r.console.Stdin(), Stdout: r.console.Stdout(), Stderr: r.console.Stderr(), Resize: r.console.Resize(),
			Stop: r.stop.Done(), Started: func(pid int) {
				_ = r.note(func(record *Record) { record.PID = pid }) // mattered only to a reader
				close(r.up)
			},
		})
	}
	exit := exitOf(err)
	if exit.Error != "" {
		fmt.Fprintln(r.console.Stderr(), exit.Error)
	}
	_ = r.console.Close() // each line was written as it came
	if err := r.note(func(record *Record) { record.Exit = exit }); err != nil {
		exit.Error = errors.Join(err, exit.Err()).Error()
	}
}

// note changes the record.
func (r *run) note(change func(*Record)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.record)
	if err := r.record.write(); err != nil {
		return fmt.Errorf("note down the state of %s: %w", r.For, err)
	}
	return nil
}

func (r *run) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record.PID
}

func (r *run) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// listenTime is how long an agent that does not listen holds up the program.
const listenTime = 10 * time.Second

// follow tells the agent what the program writes and how it ends, and takes its orders.
func (r *run) follow(ctx context.Context, conn *net.UnixConn, in *json.Decoder) {
	var mu sync.Mutex
	out := json.NewEncoder(conn)
	tell := func(a answer) {
		mu.Lock()
		defer mu.Unlock()
		a.Version = Version
		_ = conn.SetWriteDeadline(time.Now().Add(listenTime))
		if out.Encode(a) != nil {
			_ = conn.Close() // it will ask again, if it is there
		}
	}
	if err := send(conn, answer{Version: Version}); err != nil {
		return
	}
	defer r.console.Listen(
		teller(func(p []byte) { tell(answer{Out: p}) }), teller(func(p []byte) { tell(answer{Err: p}) }))()
	left, orders := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(orders)
		defer close(left)
		r.obey(ctx, in)
	}()
	defer func() { _ = conn.Close(); <-orders }()
	select {
	case <-r.up:
		tell(answer{PID: r.pid()})
	case <-r.done:
	case <-left:
		return
	}
	select {
	case <-r.done:
		r.mu.Lock()
		exit := r.record.Exit
		r.mu.Unlock()
		tell(answer{Exit: exit})
	case <-left:
	}
}

// obey takes orders until the agent has gone.
func (r *run) obey(ctx context.Context, in *json.Decoder) {
	for {
		var o order
		if in.Decode(&o) != nil {
			return
		}
		switch {
		case o.Size != nil && r.TTY:
			r.console.SetSize(ctx, *o.Size)
		case o.Signal == int(unix.SIGTERM):
			r.terminate()
		case o.Signal == int(unix.SIGKILL):
			r.kill()
		}
	}
}

type teller func(p []byte)

func (t teller) Write(p []byte) (int, error) {
	t(p)
	return len(p), nil
}

// type_ types into the program what comes from the agent, until it has gone.
func (r *run) type_(ctx context.Context, from io.Reader) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_ = r.console.Attach(ctx, atEnd{from, cancel}, nil, nil, nil) // the run has a stdin, or wants nothing
}

// atEnd calls a function when there is no more to read.
type atEnd struct {
	io.Reader
	call func()
}

func (r atEnd) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		r.call()
	}
	return n, err
}
