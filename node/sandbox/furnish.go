package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sharedMemory is the size of a Pod's /dev/shm, as container runtimes have it.
const sharedMemory = 64 << 20

// devices are what every container finds in its /dev.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"}

// deviceLinks are links in /dev.
var deviceLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
}

// share makes what the processes of a Pod share: the IPC namespace and the memory of
// /dev/shm. Most Pods have no processes and need neither.
func (s *Sandbox) share() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.ipc != nil || s.hostIPC:
		return nil
	}
	return s.Host.Do(func() (err error) {
		if err := os.MkdirAll(s.shm(), 0o777); err != nil {
			return err
		}
		if err := mountMemory(s.shm(), fmt.Sprintf("mode=1777,size=%d", sharedMemory)); err != nil {
			return fmt.Errorf("mount shared memory: %w", err)
		}
		if err := unix.Unshare(unix.CLONE_NEWIPC); err != nil {
			return fmt.Errorf("new IPC namespace: %w", err)
		}
		s.ipc, err = os.Open("/proc/thread-self/ns/ipc")
		return err
	})
}

// shm is where the shared memory lies on the node.
func (s *Sandbox) shm() string {
	if s.hostIPC {
		return "/dev/shm"
	}
	return filepath.Join(s.dir, "shm")
}

// furnish gives the calling thread's mount namespace a container's /tmp, /dev and volumes.
func (s *Sandbox) furnish(c PlaceConfig) error {
	mounts, err := takeAll(append([]Mount{{Source: s.shm(), Target: "/dev/shm"}}, c.Mounts...))
	defer mounts.close()
	if err != nil {
		return err
	}
	private := []string{"/tmp"}
	if err := furnishTmp(); err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	if !c.Devices {
		private = append(private, "/dev")
		if err := furnishDev(); err != nil {
			return fmt.Errorf("mount /dev: %w", err)
		}
	}
	return mounts.put(private)
}

func furnishTmp() error {
	target, err := makeTarget("/tmp", true, nil)
	if err != nil {
		return err
	}
	return mountMemory(target, "mode=1777")
}

// furnishDev replaces /dev by one that has only what cannot do harm.
func furnishDev() error {
	if err := replace("/dev", devices); err != nil {
		return err
	}
	var errs []error
	for name, target := range deviceLinks {
		errs = append(errs, os.Symlink(target, filepath.Join("/dev", name)))
	}
	return errors.Join(errs...)
}
