package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"orrery.example.org/host"
	"orrery.example.org/node/workload"
)

// drainTime is how long output is still read after a program ended, when a child
// that it left behind keeps the pipe open.
const drainTime = 2 * time.Second

// Process is a program to be run in a place.
type Process struct {
	Main      bool // the container's own, in which it begins and ends
	Argv, Env []string
	Dir       string
	User      *syscall.Credential // nil: the agent's
	Stdin     io.Reader           // nil: none
	Stdout    io.Writer
	Stderr    io.Writer // unused with a terminal
	TTY       bool
	Resize    <-chan remotecommand.TerminalSize // nil: never
	Stop      <-chan struct{}                   // closed: SIGTERM; nil: never
	Started   func(pid int)                     // called once it runs; nil: nobody asks
}

// Run runs the program to its end. Cancelling ctx kills it with all it started. An
// error other than workload.Exit means that it could not be run.
func (l *Place) Run(ctx context.Context, p Process) error {
	cmd := l.host.Command(ctx, p.Argv[0], p.Argv[1:]...)
	if l.layer != "" {
		var err error
		if cmd.Path, err = l.find(p.Argv[0], p.Env); err != nil {
			return err
		}
		cmd.Err = nil // it was looked for among the node's
	}
	if cmd.Err != nil {
		return notFound(p.Argv[0])
	}
	cmd.Env, cmd.Dir = p.Env, p.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: p.User} // its own group, to be signalled as one
	if l.cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(l.cgroup.Fd())
	}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = drainTime

	var run func(*host.Cmd, Process) error
	if p.Stdout == nil {
		p.Stdout = io.Discard
	}
	if p.TTY {
		run = l.runOnTerminal
	} else {
		run = l.runOnPipes
	}
	return exitError(run(cmd, p))
}

// runOnPipes connects the program to the streams.
func (l *Place) runOnPipes(cmd *host.Cmd, p Process) error {
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	var stdin io.WriteCloser
	if p.Stdin != nil {
		var err error
		if stdin, err = cmd.StdinPipe(); err != nil {
			return err
		}
	}
	if err := l.start(cmd, p); err != nil {
		return err
	}
	if stdin != nil {
		// Not waited for: the reader may block until its client hangs up, which
		// happens after the program's end. Wait closes the pipe.
		go func() {
			_, _ = io.Copy(stdin, p.Stdin) // the program may stop reading at any time
			_ = stdin.Close()
		}()
	}
	return l.wait(cmd, p)
}

// errClosed is what starting a program ends with when it comes too late.
var errClosed = errors.New("the container has ended")

// start starts the program on a thread that is in all of the place's namespaces.
func (l *Place) start(cmd *host.Cmd, p Process) error {
	s := l.box
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.places[l] {
		return errClosed
	}
	if err := l.pids.await(p.Main && l.own); err != nil {
		return err
	}
	if l.pids != nil && l.pids.ns == nil {
		return l.startFirst(cmd, p)
	}
	cmd.Before = func() error {
		if err := s.enter(); err != nil || l.pids == nil {
			return err
		}
		return l.pids.enter()
	}
	if l.pids != nil {
		if err := l.show(); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	l.started(cmd, p)
	return nil
}

func (l *Place) started(cmd *host.Cmd, p Process) {
	l.box.record(cmd.Process.Pid)
	if p.Started != nil {
		p.Started(cmd.Process.Pid)
	}
}

// wait waits for the program and passes on the wish that it stop.
func (l *Place) wait(cmd *host.Cmd, p Process) error {
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-p.Stop:
			_ = cmd.Process.Signal(unix.SIGTERM) // it may have ended just now
		case <-ended:
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-stopped
	l.box.forget(cmd.Process.Pid)
	if p.Main && l.own {
		l.box.mu.Lock()
		defer l.box.mu.Unlock()
		l.pids.ended()
	}
	return err
}

// exitError translates how a program ended.
func exitError(err error) error {
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well; a child of it did not
	case !errors.As(err, &exit):
		return err
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		signal := int(status.Signal())
		return workload.Exit{Code: 128 + signal, Signal: signal}
	}
	return workload.Exit{Code: exit.ExitCode()}
}

// runOnTerminal gives the program a terminal as its standard streams.
func (l *Place) runOnTerminal(cmd *host.Cmd, p Process) error {
	master, slave, err := openTerminal()
	if err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	defer master.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setctty = true // of descriptor 0
	err = l.start(cmd, p)
	_ = slave.Close() // the program has its own
	if err != nil {
		return err
	}
	if p.Stdin != nil {
		go func() { _, _ = io.Copy(master, p.Stdin) }() // as in runOnPipes
	}
	if p.Resize != nil {
		go func() {
			for size := range p.Resize {
				setSize(master, size)
			}
		}()
	}
	output := make(chan struct{})
	go func() {
		defer close(output)
		_, _ = io.Copy(p.Stdout, master) // ends with EIO when the last program leaves the terminal
	}()
	err = l.wait(cmd, p)
	_ = master.SetReadDeadline(time.Now().Add(drainTime))
	<-output
	return err
}

// openTerminal makes a pseudo-terminal.
func openTerminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	// By the descriptor and not by name: /dev/pts may be that of another instance.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, nil, errors.Join(errno, master.Close())
	}
	return master, os.NewFile(peer, "terminal"), nil
}

func setSize(master *os.File, size remotecommand.TerminalSize) {
	conn, err := master.SyscallConn()
	if err != nil {
		return // closed: the program has ended
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
}
