package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// startFirst starts the program that becomes process 1 of the place's PID namespace. The
// /proc that shows the namespace can be mounted only when that has a process. So the
// program is stopped at its first instruction, as a debugger would do, until this is done.
func (l *Place) startFirst(cmd *host.Cmd, p Process) error {
	cmd.SysProcAttr.Ptrace = true
	cmd.Before = func() error { return errors.Join(l.box.enter(), l.pids.enter()) }
	var shown error
	cmd.After = func() { // only the thread that started it may let it go on
		pid := cmd.Process.Pid
		var info unix.Siginfo
		// The stop, or the end, stays to be waited for by cmd.
		_ = ignoreInterrupts(func() error {
			return unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		})
		l.pids.began(pid)
		shown = l.show()
		_ = unix.PtraceDetach(pid) // it may have been killed
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if shown != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		l.pids.ended()
		return shown
	}
	l.started(cmd, p)
	return nil
}

func ignoreInterrupts(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// show mounts a /proc of the PID namespace in the place. Where a part of the node's /proc
// is covered, as in a container of Docker, the kernel refuses one in which it would not
// be; then the node's stays.
func (l *Place) show() error {
	ns := l.pids.ns
	if ns == nil || l.proc == ns {
		return nil
	}
	l.proc = ns
	err := l.host.Do(func() error { return mountProc(int(ns.Fd())) })
	if errors.Is(err, unix.EINVAL) { // before Linux 6.17, which brought the option pidns
		err = l.showFromInside()
	}
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// mountProc mounts a /proc of a PID namespace in the calling thread's mount namespace.
func mountProc(ns int) error {
	config, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(config)
	if err := unix.FsconfigSetFd(config, "pidns", ns); err != nil {
		return err
	}
	if err := unix.FsconfigCreate(config); err != nil {
		return err
	}
	proc, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	return tree(proc).put("/proc")
}

// showFromInside has a process of the PID namespace mount its /proc. The program for it
// is the node's: where the place has a root directory of its own, it is looked up and
// begins among the node's files, and mounts in the place.
func (l *Place) showFromInside() error {
	from, args := l.host, []string{"-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc"}
	if l.layer != "" {
		from, args = l.box.Host, append([]string{"--namespace", "/proc/self/fd/3"}, args...)
	}
	var cmd *host.Cmd
	err := from.Do(func() error {
		cmd = from.Command(context.Background(), "mount", args...)
		return nil
	})
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{l.host.MountNS()}
	cmd.Before = l.pids.enter
	err = cmd.Run()
	if exit := (&exec.ExitError{}); errors.As(err, &exit) {
		return fmt.Errorf("mount: %w: %w", err, unix.EPERM)
	}
	return err
}
