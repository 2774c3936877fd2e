package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"orrery.example.org/host"
	"orrery.example.org/node/sandbox"
)

// keeper is the shim's own side.
type keeper struct {
	log *slog.Logger
	end func() // ends the shim

	mu     sync.Mutex
	ending bool
	pods   map[string]*sandbox.Sandbox // by directory
	runs   map[string]*run             // by id; also those that have ended, until they are dropped
	wait   sync.WaitGroup              // for the runs that go on
}

// serve answers in dir until ctx ends, and then ends what runs.
func serve(ctx context.Context, dir string, log *slog.Logger, listening func() error) error {
	path, done, err := address(dir)
	if err != nil {
		return err
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var here *host.Host
	ln, err := here.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), listening()); err != nil {
		return errors.Join(err, ln.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := &keeper{log: log, end: cancel, pods: map[string]*sandbox.Sandbox{}, runs: map[string]*run{}}
	context.AfterFunc(ctx, func() { _ = ln.Close() }) // removes the socket
	var conns sync.WaitGroup
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			break
		}
		if err != nil { // too many files are open, at most
			log.Error("accepting a connection", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		conns.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()
			k.handle(ctx, conn.(*net.UnixConn))
		})
	}
	k.stopAll()
	cancel()
	conns.Wait()
	return nil
}

// handle does what one connection is for.
func (k *keeper) handle(ctx context.Context, conn *net.UnixConn) {
	files, err := receiveFiles(conn)
	if err != nil {
		return // who knows who that was
	}
	in := json.NewDecoder(conn)
	var q request
	if err := in.Decode(&q); err != nil {
		closeAll(files)
		return
	}
	switch {
	case q.Verb == verbEnd:
		k.stopAll()
		err = send(conn, answer{Version: Version})
		k.end()
	case q.Version != Version:
		err = fmt.Errorf("the shim has version %d, and the agent %d", Version, q.Version)
	case q.Verb == verbStart && q.Start != nil:
		var r *run
		if r, err = k.start(q.Start, files); err == nil {
			r.follow(ctx, conn, in)
		}
		files = nil // it owns them
	case q.Verb == verbFollow, q.Verb == verbStdin:
		k.mu.Lock()
		r := k.runs[q.ID]
		k.mu.Unlock()
		switch {
		case r == nil:
			err = fmt.Errorf("there is no run %q", q.ID)
		case q.Verb == verbFollow:
			r.follow(ctx, conn, in)
		default:
			r.type_(ctx, io.MultiReader(in.Buffered(), conn))
		}
	case q.Verb == verbList:
		err = send(conn, answer{Version: Version, List: k.list()})
	case q.Verb == verbTake:
		err = k.give(conn, q.Pod)
	case q.Verb == verbDrop:
		k.drop(q.Pod, q.ID)
		err = send(conn, answer{Version: Version})
	default:
		err = fmt.Errorf("there is no verb %q", q.Verb)
	}
	closeAll(files)
	if err != nil {
		k.log.Warn("request failed", "verb", q.Verb, "pod", q.Pod, "run", q.ID, "err", err)
		_ = send(conn, answer{Version: Version, Error: err.Error()}) // maybe nobody is there any more
	}
}

func (k *keeper) list() *List {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := &List{Pods: slices.Collect(maps.Keys(k.pods))}
	for id, r := range k.runs {
		if !r.over() {
			all.Runs = append(all.Runs, Run{ID: id, Pod: r.Pod, PID: r.pid()})
		}
	}
	return all
}

// give sends the files of a Pod, and of its runs that go on.
func (k *keeper) give(conn *net.UnixConn, pod string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	box := k.pods[pod]
	if box == nil {
		return fmt.Errorf("no sandbox of %s is known", pod)
	}
	a, files := answer{Version: Version}, box.Files()
	for id, r := range k.runs {
		if r.Pod == pod && !r.over() {
			mounts, _, _ := r.place.Parts()
			a.Mounts, files = append(a.Mounts, id), append(files, mounts)
		}
	}
	return send(conn, a, files...)
}

// drop kills and forgets one run, or a Pod with all its runs.
func (k *keeper) drop(pod, id string) {
	var dropped []*run
	k.mu.Lock()
	for _, r := range k.runs {
		if pod != "" && r.Pod == pod || r.ID == id {
			dropped = append(dropped, r)
			delete(k.runs, r.ID)
		}
	}
	box := k.pods[pod]
	delete(k.pods, pod)
	k.mu.Unlock()
	for _, r := range dropped {
		r.kill()
		<-r.done
	}
	if box != nil {
		box.Leave() // its runs have ended, and what they mounted goes with the last descriptor
	}
}

// stopGrace is what programs get when the shim itself is told to end.
const stopGrace = 10 * time.Second

// stopAll ends all runs, as well as can be. None is started any more.
func (k *keeper) stopAll() {
	k.mu.Lock()
	k.ending = true
	var all []*run
	for _, r := range k.runs {
		all = append(all, r)
	}
	k.mu.Unlock()
	for _, r := range all {
		r.terminate()
	}
	kill := time.AfterFunc(stopGrace, func() {
		for _, r := range all {
			r.kill()
		}
	})
	defer kill.Stop()
	k.wait.Wait()
}
