package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// PlaceConfig of one run of a container.
type PlaceConfig struct {
	Name    string // for messages: namespace/pod/container
	Mounts  []Mount
	BuiltIn bool     // the container's own program is no process
	HostPID bool     // it sees the node's processes
	PIDs    *PIDs    // whose processes it sees; nil: it has a PID namespace of its own
	Devices bool     // it has the node's /dev, as privileged containers do
	Root    *Root    // nil: it sees the node's files
	Cgroup  *os.File // in which its programs are born; nil: the agent's
}

// Place is where one run of a container happens: the Pod's namespaces, a mount namespace
// of its own, made from the Pod's, and mostly a PID namespace. Its /tmp and /dev are
// empty at first and go with it.
type Place struct {
	box  *Sandbox
	host *host.Host
	pids *PIDs    // nil: the node's
	own  bool     // pids is this place's alone
	proc *os.File // the namespace whose processes its /proc shows; nil: the node's

	cgroup *os.File // nil: the agent's
	layer  string   // what its root directory has more than the node's; "": it has none of its own
}

// NewPlace makes the place of one run of a container.
func (s *Sandbox) NewPlace(c PlaceConfig) (*Place, error) {
	if err := s.share(); err != nil {
		return nil, err
	}
	l := &Place{box: s, pids: c.PIDs, cgroup: c.Cgroup}
	if c.PIDs == nil && !c.HostPID {
		l.pids, l.own = &PIDs{box: s, paused: c.BuiltIn}, true
	}
	if c.Root != nil {
		var err error
		if l.layer, err = os.MkdirTemp(s.dir, "layer-"); err != nil {
			return nil, err
		}
	}
	err := s.Host.Do(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("new mount namespace: %w", err)
		}
		if err := s.furnish(c, l.layer); err != nil {
			return err
		}
		l.host, err = here(c.Name)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, l.removeLayer())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.host.Close()
		return nil, errors.Join(errClosed, l.removeLayer())
	}
	s.places[l] = true
	return l, nil
}

// PIDs is the place's PID namespace, for others to share; nil: the node's.
func (l *Place) PIDs() *PIDs { return l.pids }

// Close ends what still runs in the place, and drops it.
func (l *Place) Close() error {
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	if !l.box.places[l] {
		return nil // the sandbox was closed
	}
	delete(l.box.places, l)
	return l.drop()
}

// drop is Close; the sandbox is locked.
func (l *Place) drop() (err error) {
	if !l.own || l.pids.ns != nil {
		err = killAll(l.host)
	}
	if l.own {
		l.pids.drop()
	}
	l.host.Close()
	return errors.Join(err, l.removeLayer())
}

func (l *Place) removeLayer() error {
	if l.layer == "" {
		return nil
	}
	return os.RemoveAll(l.layer)
}

// Open opens a file for reading, as a program in that place would find it.
func (l *Place) Open(path string) (f *os.File, err error) {
	err = l.do(func() error {
		f, err = os.Open(path)
		return err
	})
	return f, err
}

// do runs f on a thread in the place.
func (l *Place) do(f func() error) error {
	l.box.mu.Lock() // so that the place is not closed meanwhile
	defer l.box.mu.Unlock()
	if !l.box.places[l] {
		return errClosed
	}
	return l.host.Do(f)
}
