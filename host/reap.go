package host

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// started are the processes that some Cmd will wait for. Start holds the lock from
// before the fork until the process is listed, so that the reaper never takes one
// of them for an orphan.
var started = struct {
	sync.RWMutex
	mu   sync.Mutex
	pids map[int]bool
}{pids: map[int]bool{}}

func list(pid int) {
	started.mu.Lock()
	defer started.mu.Unlock()
	started.pids[pid] = true
}

func unlist(pid int) {
	started.mu.Lock()
	defer started.mu.Unlock()
	delete(started.pids, pid)
}

func listed(pid int) bool {
	started.mu.Lock()
	defer started.mu.Unlock()
	return started.pids[pid]
}

// ReapOrphans collects processes whose own parent ended, until ctx ends: the duty of
// process 1 of a PID namespace. It leaves those alone that a Cmd started.
func ReapOrphans(ctx context.Context) error {
	if os.Getpid() != 1 {
		return nil
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-died:
			if err := reap(); err != nil {
				return err
			}
		}
	}
}

// reap collects dead orphans until there is none, or until the first dead child is
// one that its Cmd is about to collect: the next SIGCHLD brings us back.
func reap() error {
	started.Lock()
	defer started.Unlock()
	for {
		pid, err := firstDead()
		if errors.Is(err, unix.ECHILD) || (err == nil && (pid == 0 || listed(pid))) {
			return nil
		}
		if err != nil {
			return err
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
