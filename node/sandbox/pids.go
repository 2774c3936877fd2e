package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// PIDs is a PID namespace. Whoever starts in it first is its process 1: the container's
// program, or a pause process where that is none or several containers share the
// namespace. When process 1 ends, the kernel kills the rest, and nothing more can start.
// Guarded by its sandbox's mutex.
type PIDs struct {
	box    *Sandbox
	paused bool     // process 1 is a pause process, started when it is needed
	ns     *os.File // nil: there is no process 1
	over   bool     // nor will there be one
	kill   func()   // ends the pause process; nil: there is none
}

// pauseProgram waits to be killed. As it ignores SIGCHLD, the kernel buries the orphans
// that become its children.
//
// Kubernetes: a program of its own, which every Pod has. Here only those have one that
// somebody looks into or whose containers share their processes.
var pauseProgram = []string{"env", "--ignore-signal=CHLD", "sleep", "infinity"}

// SharedPIDs is the PID namespace of all the containers of a Pod that share one.
func (s *Sandbox) SharedPIDs() *PIDs { return s.pids }

// await makes sure that there is a process 1, or that the program to be started may be it.
func (n *PIDs) await(main bool) error {
	switch {
	case n == nil || n.ns != nil:
		return nil
	case n.over:
		return errClosed
	case n.paused:
		return n.pause()
	case !main:
		return errors.New("the container is not running")
	default:
		return nil
	}
}

// pause starts the pause process.
func (n *PIDs) pause() error {
	ctx, kill := context.WithCancel(context.Background())
	cmd := n.box.Host.Command(ctx, pauseProgram[0], pauseProgram[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{}, &syscall.SysProcAttr{Setsid: true}
	cmd.Before = func() error { return errors.Join(n.box.enter(), n.enter()) }
	if err := cmd.Start(); err != nil {
		kill()
		return fmt.Errorf("start the pause process: %w", err)
	}
	n.box.record(cmd.Process.Pid)
	n.kill = kill
	n.began(cmd.Process.Pid)
	n.box.pauses.Go(func() {
		_ = cmd.Wait() // it does nothing but to be killed
		kill()
		n.box.forget(cmd.Process.Pid)
		n.box.mu.Lock()
		defer n.box.mu.Unlock()
		n.ended()
	})
	return nil
}

// enter has the next process that the calling thread starts begin in the namespace.
func (n *PIDs) enter() error {
	// The first start of a process in a program's life tries out whether the kernel has
	// pidfds, with a child that would become process 1.
	_, _ = os.FindProcess(os.Getpid())
	if n.ns == nil {
		if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
			return fmt.Errorf("new PID namespace: %w", err)
		}
		return nil
	}
	if err := unix.Setns(int(n.ns.Fd()), unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("enter PID namespace: %w", err)
	}
	return nil
}

// began notes who is process 1.
func (n *PIDs) began(pid int) {
	var err error
	if n.ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil {
		n.over = true // it has ended already
	}
}

// ended notes that there is none any more.
func (n *PIDs) ended() {
	n.over = !n.paused
	if n.ns != nil {
		_ = n.ns.Close()
		n.ns = nil
	}
}

func (n *PIDs) drop() {
	if n.kill != nil {
		n.kill()
	}
	n.paused = false
	n.ended()
}
