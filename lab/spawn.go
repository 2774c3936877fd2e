package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// The lab is a child process of whoever starts it: this same program, run again in
// namespaces of its own.
//
//   - a user namespace (not for root), in which it is root and may make network
//     namespaces;
//   - a mount namespace, where it puts a fresh /run, so that its programs' locks and
//     sockets never meet the machine's;
//   - a PID namespace, in which it is process 1: whatever ends it, kill -9 included,
//     ends every process it started.
//
// It stays in the machine's network namespace, because it listens on 127.0.0.1 there
// and from another one there is no way back. Only single threads enter the lab's
// networks (see package host).
const childEnv = "ORRERY_LAB_CHILD"

// The child's inherited files, after standard input, output and error.
const (
	reportFD = 3 // steps, as lines of JSON
	lockFD   = 4 // the lab's lock: held for as long as the child lives
	parentFD = 5 // a pipe that closes with the parent; only where the lab must not outlive it
)

// Step is one line of progress: what has been reached, and when since the start.
type Step struct {
	Name    string        `json:"name"`
	Detail  string        `json:"detail,omitempty"`
	Elapsed time.Duration `json:"elapsed"`
	Ready   bool          `json:"ready,omitempty"`  // the last step: the lab is up
	Error   string        `json:"error,omitempty"`  // the last step: the lab is not
	Denied  bool          `json:"denied,omitempty"` // because of what this user may not do
}

// permissionError is about what this user may not do. It travels from the lab's
// process to its parent as a Step.
type permissionError struct{ message string }

func (e *permissionError) Error() string { return e.message }

// IsPermission says whether a lab could not start because this user may not make
// what it needs.
func IsPermission(err error) bool {
	var p *permissionError
	return errors.As(err, &p)
}

// Process is a lab's process, seen by who started it.
type Process struct {
	State State
	Ready Step // the step that said it is up
	cmd   *exec.Cmd
	alive *os.File // closing it ends a lab that is tied to its parent
}

// SpawnOptions say how the lab's process relates to its parent.
type SpawnOptions struct {
	Progress func(Step) // called for every step; may be nil
	Tied     bool       // the lab ends with its parent
	Output   *os.File   // where the lab logs; nil: its log file
}

// Spawn starts a lab in a process of its own and returns when it is ready. An error
// means that nothing is left running.
func Spawn(c Config, o SpawnOptions) (*Process, error) {
	state := c.State
	lock, err := state.lock()
	if errors.Is(err, ErrRunning) {
		return nil, fmt.Errorf("lab %q is %w: use it (ctl status --name %[1]s), stop it (ctl down --name %[1]s) or give the new one another --name", state.Name, err)
	}
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if o.Output == nil {
		log, err := os.OpenFile(state.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the lab's log: %w", err)
		}
		defer log.Close()
		o.Output = log
	}
	reports, reportTo, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reports.Close()
	p := &Process{State: state}
	p.cmd, err = start(c, o, p, reportTo, lock)
	_ = reportTo.Close()
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(lock).Encode(holder{PID: p.cmd.Process.Pid}); err != nil {
		err = fmt.Errorf("write the lab's lock: %w", err)
		return nil, errors.Join(err, p.Kill())
	}
	if p.Ready, err = follow(reports, o.Progress); err != nil {
		_ = p.Kill()
		return nil, err
	}
	return p, nil
}

// start executes this program as the lab's.
func start(c Config, o SpawnOptions, p *Process, reportTo, lock *os.File) (*exec.Cmd, error) {
	config, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the lab's configuration: %w", err)
	}
	if err := lock.Truncate(0); err != nil {
		return nil, fmt.Errorf("empty the lab's lock: %w", err)
	}
	files := []*os.File{reportTo, lock}
	if o.Tied {
		theirs, ours, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer theirs.Close()
		p.alive = ours
		files = append(files, theirs)
	}
	execute := func(attr *syscall.SysProcAttr) (*exec.Cmd, error) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = []string{"orrery-lab", c.State.Name}
		cmd.Env = append(os.Environ(), childEnv+"="+string(config))
		cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = o.Output, o.Output, files
		cmd.SysProcAttr = attr
		return cmd, cmd.Start()
	}
	cmd, err := execute(namespaces(os.Geteuid() == 0))
	if errors.Is(err, syscall.EPERM) && os.Geteuid() == 0 {
		// Root without CAP_SYS_ADMIN, as in a container: try as any user would.
		cmd, err = execute(namespaces(false))
	}
	if err != nil {
		return nil, denied("start the lab in namespaces of its own", err)
	}
	return cmd, nil
}

func namespaces(root bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Setsid:     true, // ctrl-C at the parent's terminal is the parent's to handle
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
	}
	if !root {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// follow reads steps until the lab is ready or has failed.
func follow(reports io.Reader, progress func(Step)) (Step, error) {
	lines := bufio.NewScanner(reports)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s Step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return s, fmt.Errorf("read the lab's progress: %w", err)
		}
		switch {
		case s.Denied:
			return s, &permissionError{s.Error}
		case s.Error != "":
			return s, errors.New(s.Error)
		}
		if progress != nil {
			progress(s)
		}
		if s.Ready {
			return s, nil
		}
	}
	return Step{}, errors.New("the lab's process ended before the lab was up")
}

// Wait returns when the lab's process has ended.
func (p *Process) Wait() error { return p.cmd.Wait() }

// Stop ends the lab in good order and waits for it.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if p.alive != nil {
		defer p.alive.Close()
	}
	return p.cmd.Wait()
}

// Kill ends the lab at once, as a crash would, and waits for it.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if p.alive != nil {
		defer p.alive.Close()
	}
	_ = p.cmd.Wait() // it was killed: its status says nothing
	return nil
}

// Release lets the lab live on when its parent ends.
func (p *Process) Release() error { return p.cmd.Process.Release() }
