package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/cgroup"
	"orrery.example.org/node/console"
	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/shim"
	"orrery.example.org/node/workload"
)

// startError is the exit code of a program that could not be started, as runc's.
const startError = 128

// run is one run of a container.
type run struct {
	c       *container
	image   string            // as the Pod has it
	builtIn workload.Workload // nil: argv
	argv    []string
	dir     string // its programs begin there
	env     []string
	root    *sandbox.Root       // nil: they see the node's files
	user    *syscall.Credential // of its programs; nil: the agent's
	console *console.Console
	box     *sandbox.Sandbox
	start   *shim.Start   // what the shim is to know; nil: the agent is the program's parent
	last    *predecessor  // what is known of it from before the agent's start; nil: it began later
	started bool          // the program was
	up      chan struct{} // closed when it was

	group    *cgroup.Group // nil: its programs are in the agent's
	mounts   []sandbox.Mount
	entering sync.Mutex
	place    *sandbox.Place // nil: there is none yet
	left     bool           // and there will be none
}

// runOnce runs the container once and returns its exit code. An error means that it
// was not tried, because of how the Pod is written.
func (c *container) runOnce(stop, kill context.Context, image workload.Image) (int32, error) {
	r, err := c.prepare(stop, image)
	if err != nil {
		return 0, err
	}
	stop, stopRun := context.WithCancel(stop)
	defer stopRun()
	kill, killRun := context.WithCancelCause(kill)
	defer killRun(nil)
	c.event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", r.image))
	err = c.begin(r, imageID(image, r.argv), func(grace time.Duration) {
		stopRun()
		time.AfterFunc(grace, func() { killRun(errGraceOver) })
	})
	if err != nil {
		r.leavePlace()
		return 0, err
	}
	c.event(corev1.EventTypeNormal, "Created", "Container created")
	c.event(corev1.EventTypeNormal, "Started", "Container started")
	return c.attend(stop, kill, stopRun, r)
}

// attend executes a run, with what goes on beside it, and returns its exit code. The
// error is shim.ErrLeft where it goes on without the agent.
func (c *container) attend(stop, kill context.Context, stopRun func(), r *run) (int32, error) {
	defer r.leavePlace()
	life, end := context.WithCancel(context.WithoutCancel(stop))
	terminated, terminate := context.WithCancel(life)
	dead, die := context.WithCancel(life)
	var beside sync.WaitGroup
	beside.Go(func() { r.stopGently(life, stop, kill, terminate, die) })
	if c.needsCare() {
		beside.Go(func() { r.care(stop) })
	}
	err := r.execute(terminated, dead)
	end()
	stopRun()
	beside.Wait()
	if errors.Is(err, shim.ErrLeft) {
		return 0, err
	}
	return c.end(r, err), nil
}

// prepare finds out what is to be run, and makes the place where it is, unless that can
// wait (idle.go).
func (c *container) prepare(ctx context.Context, image workload.Image) (r *run, err error) {
	r = &run{c: c, up: make(chan struct{}), image: c.current().Image, box: c.pod.sandbox()}
	r.builtIn, r.argv = c.pod.node.catalog.Program(image, c.spec)
	if r.builtIn == nil && len(r.argv) == 0 {
		return nil, errNoCommand
	}
	r.dir = cmp.Or(c.spec.WorkingDir, image.WorkingDir, "/")
	r.root = c.root(image, r.dir)
	var home string
	if r.user, home, err = c.user(image); err != nil {
		return nil, err
	}
	if r.env, err = c.pod.environment(ctx, &c.spec, append([]string{"HOME=" + home}, image.Env...)); err != nil {
		return nil, err
	}
	if r.mounts, err = c.pod.mounts(&c.spec, r.env); err != nil {
		return nil, err
	}
	if r.builtIn == nil || !c.pod.looksIdle(c.spec.VolumeMounts) {
		_, err = r.enter(ctx)
	}
	return r, err
}

// errNoCommand is a container that nobody gave anything to run.
var errNoCommand = errors.New("no command specified")

// root is the root directory that the image gives the container.
func (c *container) root(image workload.Image, workingDir string) *sandbox.Root {
	if image.Root == "" {
		return nil
	}
	security := c.spec.SecurityContext
	return &sandbox.Root{
		Dir: image.Root, WorkingDir: workingDir,
		ReadOnly: security != nil && ptr.Deref(security.ReadOnlyRootFilesystem, false),
	}
}

// createReason is upstream's word for what keeps a container from being made: how it is
// written, or the machine.
func createReason(err error) string {
	if errors.Is(err, errNoCommand) || errors.Is(err, sandbox.ErrRoot) {
		return "CreateContainerError"
	}
	return "CreateContainerConfigError"
}

// leavePlace ends what the program left behind, and drops the container's mounts.
func (r *run) leavePlace() {
	r.entering.Lock()
	defer r.entering.Unlock()
	r.left = true
	switch {
	case r.place == nil:
		return
	case r.goesOn():
		if r.group != nil {
			_ = r.group.File().Close()
		}
		return
	}
	if err := errors.Join(r.place.Close(), r.removeGroup()); err != nil {
		r.c.pod.node.cfg.Log.Error("clearing a container's place", "pod", podName(r.c.pod.latest()), "err", err)
	}
}

// begin opens the console and puts the container into the state Running.
func (c *container) begin(r *run, imageID string, stopRun func(grace time.Duration)) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.ContainerID != "" {
		c.status.RestartCount++
	}
	dir := filepath.Join(c.pod.dir(), "logs", c.spec.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	logFile := func(restarts int32) string { return filepath.Join(dir, strconv.Itoa(int(restarts))+".log") }
	file := logFile(c.status.RestartCount)
	log, err := console.CreateLog(file, c.pod.node.logs)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if r.hasShim() { // which writes it
		_ = log.Close() // empty
		r.console = console.Watch(console.WatchLog(file), c.spec.Stdin, c.spec.StdinOnce)
	} else {
		r.console = console.New(log, c.spec.Stdin, c.spec.StdinOnce)
	}
	if c.console != nil {
		c.previous = c.console.Log
	}
	console.RemoveLog(logFile(c.status.RestartCount - 2))
	c.console, c.stopRun, c.present = r.console, stopRun, r
	c.serving, c.probed = false, c.spec.ReadinessProbe == nil
	if c.status.State.Terminated != nil {
		c.status.LastTerminationState = c.status.State
	}
	c.status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	c.status.ContainerID, c.status.ImageID = newContainerID(), imageID
	c.setStarted(c.spec.StartupProbe == nil && c.postStart() == nil)
	if r.hasShim() {
		return r.handOver(file)
	}
	return nil
}

// execute runs the program to its end.
func (r *run) execute(stop, kill context.Context) (err error) {
	if r.builtIn == nil {
		p := sandbox.Process{
			Main: true, Argv: r.argv, Env: r.env, Dir: r.dir, User: r.user, TTY: r.c.spec.TTY,
			Stdin: r.console.Stdin(), Stdout: r.console.Stdout(), Stderr: r.console.Stderr(),
			Resize: r.console.Resize(), Stop: stop.Done(), Started: func(int) { r.ready() },
		}
		return r.runProgram(kill, p)
	}
	r.started = true
	return r.runBuiltIn(stop, r.builtIn, workload.Container{
		Spec: r.c.spec, Stdout: r.console.Stdout(), Stderr: r.console.Stderr(), Ready: r.ready, Killed: kill.Done(),
	})
}

// ready is called by the program, or for it when it runs.
func (r *run) ready() {
	r.started = true
	if r.c.postStart() == nil || r.last != nil {
		r.serve()
	}
	close(r.up)
}

// serve says that the program is up and its postStart hook has run.
func (r *run) serve() {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.serving = true
	if r.c.spec.StartupProbe == nil {
		r.c.setStarted(true)
	}
	r.c.setReady()
	closeOnce(r.c.settled)
}

// end closes the console and puts the container into the state Terminated.
func (c *container) end(r *run, err error) int32 {
	code, signal := workload.ExitCode(err)
	state := &corev1.ContainerStateTerminated{ExitCode: int32(code), Signal: int32(signal), Reason: "Completed"}
	if code != 0 {
		state.Reason = "Error"
	}
	if r.outOfMemory() {
		state.Reason = "OOMKilled"
	}
	if exit := (workload.Exit{}); err != nil && !errors.As(err, &exit) {
		state.Message = err.Error()
		fmt.Fprintln(r.console.Stderr(), err)
		if !r.started {
			state.ExitCode, state.Reason = startError, "StartError"
			c.event(corev1.EventTypeWarning, "Failed", "Error: failed to start container: "+err.Error())
		}
	}
	if err := r.console.Close(); err != nil {
		c.pod.node.cfg.Log.Error("closing a container's log", "pod", podName(c.pod.latest()), "err", err)
	}
	if said := c.lastWords(r, state.ExitCode != 0); said != "" {
		state.Message = said
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	state.StartedAt, state.FinishedAt = c.status.State.Running.StartedAt, metav1.Now()
	if r.last != nil && r.last.Exit != nil {
		state.FinishedAt = metav1.NewTime(r.last.Exit.At)
	}
	state.ContainerID = c.status.ContainerID
	c.status.State = corev1.ContainerState{Terminated: state}
	c.stopRun, c.present, c.serving = nil, nil, false
	c.setStarted(false)
	return state.ExitCode
}

// setStarted and setReady bring the status up to date; c.mu is held.
func (c *container) setStarted(started bool) {
	c.status.Started = &started
	if started {
		closeOnce(c.hasStarted)
	}
	c.setReady()
}

func (c *container) setReady() {
	c.status.Ready = c.serving && c.probed && *c.status.Started
	poke(c.pod.wake)
}

// newContainerID is 32 random bytes, as container runtimes have it.
func newContainerID() string {
	id := make([]byte, 32)
	_, _ = rand.Read(id) // never fails
	return "orrery://" + hex.EncodeToString(id)
}

// imageID names what runs, for there is no image to have a digest.
func imageID(image workload.Image, argv []string) string {
	if image.Root != "" {
		return "orrery://root/" + image.Root
	}
	if len(argv) > 0 {
		return "orrery://program/" + strings.TrimPrefix(argv[0], "/")
	}
	return "orrery://built-in/" + image.Workload
}
