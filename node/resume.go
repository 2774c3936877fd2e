package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/utils/ptr"

	"orrery.example.org/node/cgroup"
	"orrery.example.org/node/console"
	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/shim"
)

// Who is the parent of a container's own program is decided here: the shim, if there is
// one, and else the agent. Built-in programs have none. Ephemeral containers and those of
// Pods that share one PID namespace, whose first process is the agent's, end with it.
func (r *run) hasShim() bool {
	p := r.c.pod
	return p.node.shim != nil && r.builtIn == nil && r.c.list != ephemeralList &&
		!ptr.Deref(p.latest().Spec.ShareProcessNamespace, false)
}

// runProgram runs a program of the node to its end.
func (r *run) runProgram(kill context.Context, p sandbox.Process) error {
	n := r.c.pod.node
	switch {
	case r.start == nil:
		return r.place.Run(kill, p)
	case r.last == nil:
		return n.shim.Run(kill, n.leaving, r.box, r.place, *r.start, p)
	case r.last.Exit != nil: // while there was no agent
		return r.last.Exit.Err()
	default:
		return n.shim.Follow(kill, n.leaving, r.place, r.last.ID, p)
	}
}

// handOver notes what the agent's successor has to know of a run that begins.
func (r *run) handOver(logFile string) error {
	c := r.c
	text, err := json.Marshal(note{Status: c.status, Addresses: c.pod.addresses(), Root: r.root})
	if err != nil {
		return err
	}
	object := c.pod.latest()
	r.start = &shim.Start{
		ID: c.status.ContainerID, Pod: c.pod.dir(), For: podName(object) + "/" + c.spec.Name,
		HostIPC: object.Spec.HostIPC, HostPID: object.Spec.HostPID,
		Stdin: c.spec.Stdin, StdinOnce: c.spec.StdinOnce, Log: logFile, Limits: c.pod.node.logs, Note: text,
	}
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	c.pod.handed = true
	return nil
}

// resume goes on with the run of an earlier agent, to its end.
func (c *container) resume(stop, kill context.Context) (int32, error) {
	r := &run{
		c: c, up: make(chan struct{}), image: c.last.note.Status.Image, box: c.pod.sandbox(), last: c.last, start: &c.last.Start,
		argv: c.last.Argv, dir: c.last.Dir, env: c.last.Env, user: c.last.User, root: c.last.note.Root,
		console: console.Watch(console.WatchLog(c.last.Log), c.spec.Stdin, c.spec.StdinOnce),
	}
	if mounts := c.pod.legacy.mounts[r.last.ID]; mounts != nil {
		if err := r.restorePlace(mounts); err != nil {
			return 0, err
		}
	}
	stop, stopRun := context.WithCancel(stop)
	defer stopRun()
	kill, killRun := context.WithCancelCause(kill)
	defer killRun(nil)
	c.mu.Lock()
	c.console, c.present, c.previous = r.console, r, r.previousLog()
	c.stopRun = func(grace time.Duration) {
		stopRun()
		time.AfterFunc(grace, func() { killRun(errGraceOver) })
	}
	c.serving, c.probed = c.last.Exit == nil, c.spec.ReadinessProbe == nil || c.status.Ready
	c.setStarted(ptr.Deref(c.status.Started, c.spec.StartupProbe == nil))
	c.last = nil
	c.mu.Unlock()
	return c.attend(stop, kill, stopRun, r)
}

func (r *run) restorePlace(mounts *os.File) (err error) {
	object := r.c.pod.latest()
	config := sandbox.PlaceConfig{Name: podName(object) + "/" + r.c.spec.Name, HostPID: object.Spec.HostPID}
	if r.start.Grouped {
		if r.group, err = cgroup.OpenGroup(r.c.pod.cgroup, r.c.spec.Name); err != nil {
			return err
		}
		config.Cgroup = r.group.File()
	}
	r.place, err = r.box.RestorePlace(config, mounts, r.last.Layer)
	return err
}

// previousLog is that of the run before this one; nil: there is none.
func (r *run) previousLog() *console.Log {
	restarts := int(r.last.note.Status.RestartCount)
	path := filepath.Join(filepath.Dir(r.last.Log), strconv.Itoa(restarts-1)+".log")
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	log := console.WatchLog(path)
	_ = log.Close() // it is only read
	return log
}

// goesOn says whether the agent ends, and the run does not.
func (r *run) goesOn() bool {
	if r.start == nil || r.start.ID == "" {
		return false
	}
	select {
	case <-r.c.pod.node.leaving:
		return true
	default:
		return false
	}
}
