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

// furnish gives the calling thread's mount namespace a container's root directory, /tmp,
// /dev and volumes. layer is where a root directory's changes go.
func (s *Sandbox) furnish(c PlaceConfig, layer string) error {
	mounts := []Mount{{Source: s.shm(), Target: "/dev/shm"}}
	if c.Root != nil {
		mounts = append(mounts, s.nodeFiles(c.Devices)...)
	}
	taken, err := takeAll(append(mounts, c.Mounts...))
	defer taken.close()
	if err != nil {
		return err
	}
	devices := gather("/dev", devices)
	defer devices.close()
	private := []string{"/tmp"}
	if c.Root != nil {
		private = []string{"/"}
		if err := c.Root.enter(layer); err != nil {
			return fmt.Errorf("%w: %w", ErrRoot, err)
		}
		err = c.Root.furnish()
	} else if err = furnishTmp(); err != nil {
		err = fmt.Errorf("mount /tmp: %w", err)
	}
	if err != nil {
		return err
	}
	if !c.Devices {
		private = append(private, "/dev")
		if err := furnishDev(devices); err != nil {
			return fmt.Errorf("mount /dev: %w", err)
		}
	}
	if err := taken.put(private); err != nil || c.Root == nil {
		return err
	}
	return c.Root.seal()
}

func furnishTmp() error {
	target, err := makeTarget("/tmp", true, nil)
	if err != nil {
		return err
	}
	return mountMemory(target, "mode=1777")
}

// furnishDev replaces /dev by one that has only devices that cannot do harm.
func furnishDev(devices gathered) error {
	if err := os.MkdirAll("/dev", 0o755); err != nil {
		return err
	}
	if err := devices.replace("/dev"); err != nil {
		return err
	}
	var errs []error
	for name, target := range deviceLinks {
		errs = append(errs, os.Symlink(target, filepath.Join("/dev", name)))
	}
	return errors.Join(errs...)
}
