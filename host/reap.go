package host

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Which dead processes are orphans? Not those that a Cmd will wait for: they are in
// children from their birth on. And not those that somebody starts and waits for
// within a Do, as go-iptables does: births is held for reading then, and nothing is
// collected.
var (
	children sync.Map // process number -> true
	births   sync.RWMutex
)

// ReapOrphans collects processes whose own parent ended, until ctx ends: the duty of
// process 1 of a PID namespace.
func ReapOrphans(ctx context.Context) error {
	if os.Getpid() != 1 {
		return nil
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	again := time.NewTicker(time.Second) // for those who died at a bad moment
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-died:
		case <-again.C:
		}
		if err := reap(); err != nil {
			return err
		}
	}
}

// reap collects dead orphans until there is none, or until the first dead child is
// one that its Cmd is about to collect.
func reap() error {
	if !births.TryLock() { // waiting would make every other Do wait behind us
		return nil
	}
	defer births.Unlock()
	for {
		pid, err := firstDead()
		if errors.Is(err, unix.ECHILD) || (err == nil && pid == 0) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, ours := children.Load(pid); ours {
			return nil
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// firstDead looks at a dead child without collecting it; 0 if there is none.
func firstDead() (int, error) {
	// siginfo_t: three ints of header (and padding on 64 bit), then the pid.
	var info struct {
		signo, errno, code, _ int32
		pid                   int32
		_                     [108]byte
	}
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)),
		unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(info.pid), nil
}
