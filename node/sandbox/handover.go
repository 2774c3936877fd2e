package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// Files are the open namespaces of the sandbox, which Restore makes it from again,
// maybe in another process. They stay the sandbox's.
func (s *Sandbox) Files() []*os.File {
	files := []*os.File{s.Host.NetNS(), s.Host.MountNS(), s.uts}
	if s.ipc != nil {
		files = append(files, s.ipc)
	}
	return files
}

// Restore makes a sandbox of the files of one that Create made with the same
// configuration. It owns them from then on.
func Restore(c Config, files []*os.File) (*Sandbox, error) {
	if len(files) < 3 || len(files) > 4 {
		for _, f := range files {
			_ = f.Close() // it was only to be held
		}
		return nil, fmt.Errorf("restore the sandbox of %s: %d namespaces", c.Name, len(files))
	}
	s := &Sandbox{Host: host.New(c.Name, files[0], files[1]), uts: files[2], dir: c.Dir, hostIPC: c.HostIPC, places: map[*Place]bool{}}
	if len(files) == 4 {
		s.ipc = files[3]
	}
	s.pids = &PIDs{box: s, paused: true}
	return s, nil
}

// Leave drops the sandbox, and nothing of what runs in it: somebody else holds it as well.
func (s *Sandbox) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for place := range s.places {
		place.host.Close()
	}
	s.places = nil
	for _, f := range s.Files() {
		_ = f.Close() // of a namespace
	}
}

// Parts are the open mount namespace of the place, the directory of its layer, and its
// cgroup, which RestorePlace makes it from again.
func (l *Place) Parts() (mounts *os.File, layer string, cgroup *os.File) {
	return l.host.MountNS(), l.layer, l.cgroup
}

// RestorePlace makes a place of the parts of one that NewPlace made with the same
// configuration. It owns mounts from then on.
func (s *Sandbox) RestorePlace(c PlaceConfig, mounts *os.File, layer string) (*Place, error) {
	fd, err := unix.FcntlInt(s.Host.NetNS().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, mounts.Close())
	}
	l := &Place{box: s, pids: c.PIDs, cgroup: c.Cgroup, layer: layer, host: host.New(c.Name, os.NewFile(uintptr(fd), "net"), mounts)}
	if c.PIDs == nil && !c.HostPID {
		l.pids, l.own = &PIDs{box: s, paused: c.BuiltIn}, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.host.Close()
		return nil, errClosed
	}
	s.places[l] = true
	return l, nil
}

// Began tells the place of its main program, which another process has started.
func (l *Place) Began(pid int) {
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	if l.own && l.pids.ns == nil {
		l.pids.began(pid)
		l.proc = l.pids.ns // whoever started it has mounted its /proc
	}
}

// Ended tells the place that the program has.
func (l *Place) Ended() {
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	if l.own {
		l.pids.ended()
	}
}

// KillAll kills whoever is in the place. It is for those whose parent has gone.
func (l *Place) KillAll() error {
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	if !l.box.places[l] {
		return nil
	}
	return killAll(l.host)
}
