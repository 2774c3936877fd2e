// Package sandbox makes and removes the namespaces of a Pod and runs programs in them.
//
// Upstream counterpart: the pod sandbox of a container runtime, which keeps it open
// with a pause process. Here open namespace files do that, so an idle Pod is no
// process at all. In flow the Pod's name and files; out come a host.Host bound to
// its namespaces (network, mount) and processes inside (in the Pod's UTS and IPC
// namespaces as well). The network interface is put in by package network.
//
// A program sees the node's file system with the Pod's own /etc/resolv.conf,
// /etc/hosts and /etc/hostname. Each run of a container has a Place: a copy of the Pod's
// mount namespace with its volumes and a /tmp, /dev and /proc of its own, and a PID
// namespace. A place may also have a root directory of its own instead of the node's
// files. Left out: /sys and cgroup namespace of its own.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// Config of one sandbox.
type Config struct {
	Name       string // for messages: namespace/pod
	Dir        string // made by Create, removed by Remove; it holds the files
	Hostname   string
	ResolvConf string // contents
	Hosts      string // contents

	Memory []Memory // directories that are in memory, empty at first

	HostNetwork bool       // the Pod shares the node's network namespace
	HostIPC     bool       // and its IPC namespace
	Node        *host.Host // used with HostNetwork
}

// Sandbox is a Pod's namespaces.
type Sandbox struct {
	Host *host.Host

	dir     string
	hostIPC bool
	uts     *os.File
	pids    *PIDs          // of containers that share one
	pauses  sync.WaitGroup // the pause processes

	mu     sync.Mutex      // held while a program is started, so that none is missed at the end
	closed bool            // no more is
	ipc    *os.File        // nil: no program was started, or they are in the node's
	places map[*Place]bool // of the containers
}

// Create makes the Pod's directory and namespaces.
func Create(c Config) (*Sandbox, error) {
	if err := writeFiles(c); err != nil {
		return nil, fmt.Errorf("write files of %s: %w", c.Name, err)
	}
	s := &Sandbox{dir: c.Dir, hostIPC: c.HostIPC, places: map[*Place]bool{}}
	s.pids = &PIDs{box: s, paused: true}
	prepare := func() error {
		if err := mountFiles(c.Dir); err != nil {
			return err
		}
		for _, m := range c.Memory {
			options := "mode=0777"
			if m.Size > 0 {
				options += fmt.Sprintf(",size=%d", m.Size)
			}
			if err := mountMemory(m.Dir, options); err != nil {
				return fmt.Errorf("mount memory on %s: %w", m.Dir, err)
			}
		}
		var err error
		if s.uts, err = newUTS(c.Hostname); err != nil {
			return fmt.Errorf("set host name %q: %w", c.Hostname, err)
		}
		return nil
	}
	var err error
	if c.HostNetwork {
		s.Host, err = shareNetwork(c.Name, c.Node, prepare)
	} else {
		s.Host, err = host.Create(c.Name, prepare)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// newUTS makes a UTS namespace with that host name. The calling thread must be one
// that ends afterwards.
func newUTS(hostname string) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		return nil, err
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return nil, err
	}
	return os.Open("/proc/thread-self/ns/uts")
}

// here is the place whose namespaces the calling thread is in.
func here(name string) (*host.Host, error) {
	net, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	mnt, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, errors.Join(err, net.Close())
	}
	return host.New(name, net, mnt), nil
}

// shareNetwork is host.Create for a Pod with hostNetwork: it runs prepare in a mount
// namespace of its own but in the node's network namespace.
func shareNetwork(name string, node *host.Host, prepare func() error) (h *host.Host, err error) {
	if node.NetNS() == nil { // its Do would not change threads
		own, err := os.Open("/proc/self/ns/net")
		if err != nil {
			return nil, err
		}
		node = host.New(name, own, nil)
		defer node.Close()
	}
	err = node.Do(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if h, err = here(name); err != nil {
			return err
		}
		return prepare()
	})
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("create namespaces of %s: %w", name, err)
	}
	return h, nil
}

// enter takes the calling thread, which must be one that ends afterwards, into the
// namespaces that the Pod's processes have in common.
func (s *Sandbox) enter() error {
	if err := unix.Setns(int(s.uts.Fd()), unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("enter UTS namespace: %w", err)
	}
	if s.ipc == nil {
		return nil
	}
	if err := unix.Setns(int(s.ipc.Fd()), unix.CLONE_NEWIPC); err != nil {
		return fmt.Errorf("enter IPC namespace: %w", err)
	}
	return nil
}

// Close ends what still runs in the sandbox and drops the namespaces. The directory stays.
func (s *Sandbox) Close() error {
	err := s.drop()
	s.pauses.Wait()
	return err
}

func (s *Sandbox) drop() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for place := range s.places {
		err = errors.Join(err, place.drop())
	}
	s.places = nil
	s.pids.drop()
	s.Host.Close()
	for _, namespace := range []*os.File{s.uts, s.ipc} {
		if namespace != nil {
			err = errors.Join(err, namespace.Close())
		}
	}
	return err
}

// podFiles, in /etc, are the Pod's own.
var podFiles = []string{"resolv.conf", "hosts", "hostname"}

func writeFiles(c Config) error {
	if err := os.MkdirAll(filepath.Join(c.Dir, processDir), 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"resolv.conf": c.ResolvConf, "hosts": c.Hosts, "hostname": c.Hostname + "\n",
	} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// mountFiles puts the Pod's files into /etc of the calling thread's mount namespace.
func mountFiles(dir string) error {
	// Mounts made here must not spread to the namespace this one was copied from.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, name := range podFiles {
		target, err := filepath.EvalSymlinks(filepath.Join("/etc", name))
		if err != nil {
			return overlayEtc(dir, podFiles) // missing, or a link to nowhere
		}
		if err := unix.Mount(filepath.Join(dir, name), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", name, target, err)
		}
	}
	return nil
}

// overlayEtc puts the files into /etc on a machine whose own /etc lacks one of them,
// without touching it: nothing can be mounted on a file that is not there.
func overlayEtc(dir string, names []string) error {
	upper, work := filepath.Join(dir, "etc"), filepath.Join(dir, "etc-work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(upper, name)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s,userxattr", escape(upper), escape(work))
	if err := unix.Mount("overlay", "/etc", "overlay", 0, options); err != nil {
		return fmt.Errorf("/etc lacks one of %v, and an overlay on it failed: %w", names, err)
	}
	return nil
}
