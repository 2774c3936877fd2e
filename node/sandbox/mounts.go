package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// Mount shows a directory or file of the node in a container.
type Mount struct {
	Source   string // on the node
	SubPath  string // in Source, which it cannot lead out of; made if it is missing
	Target   string // in the container; made if it is missing, without touching the node
	ReadOnly bool
}

// Memory is a directory of the node that is held in memory, for this Pod alone.
type Memory struct {
	Dir  string
	Size int64 // 0: half of the machine's
}

// Mount makes a mount namespace for one run of a container, from the Pod's. Programs
// are run in it by naming it in Process.
func (s *Sandbox) Mount(name string, mounts []Mount) (place *host.Host, err error) {
	err = s.Host.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("new mount namespace: %w", err)
		}
		if err := mountAll(mounts); err != nil {
			return err
		}
		net, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		mnt, err := os.Open("/proc/thread-self/ns/mnt")
		if err != nil {
			return errors.Join(err, net.Close())
		}
		place = host.New(name, net, mnt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		place.Close()
		return nil, errClosed
	}
	s.places[place] = true
	return place, nil
}

// Unmount ends what still runs in a place that Mount made, and drops it.
func (s *Sandbox) Unmount(place *host.Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.places[place] {
		return nil // the sandbox was closed
	}
	delete(s.places, place)
	err := killAll(place)
	place.Close()
	return err
}

// Open opens a file for reading, as a program in that place would find it.
func (s *Sandbox) Open(place *host.Host, path string) (f *os.File, err error) {
	s.mu.Lock() // so that the place is not closed meanwhile
	defer s.mu.Unlock()
	if !s.places[place] {
		return nil, errClosed
	}
	err = place.Do(func() error {
		f, err = os.Open(path)
		return err
	})
	return f, err
}

// tree is a detached copy of what is mounted somewhere, which can be put anywhere.
type tree int

// mountAll mounts in the calling thread's mount namespace. The sources are taken first:
// a mount may hide the source of the next one.
func mountAll(mounts []Mount) error {
	mounts = slices.Clone(mounts) // an outer directory is mounted before those in it
	slices.SortStableFunc(mounts, func(a, b Mount) int { return cmp.Compare(len(a.Target), len(b.Target)) })
	var trees []tree
	defer func() {
		for _, t := range trees {
			_ = unix.Close(int(t))
		}
	}()
	for _, m := range mounts {
		t, err := m.tree()
		if err != nil {
			return fmt.Errorf("take %s: %w", filepath.Join(m.Source, m.SubPath), err)
		}
		trees = append(trees, t)
	}
	var done []string // targets
	for i, m := range mounts {
		target, err := makeTarget(m.Target, trees[i].isDir(), done)
		if err == nil {
			err = trees[i].put(target)
		}
		if err != nil {
			return fmt.Errorf("mount on %s: %w", m.Target, err)
		}
		done = append(done, target)
	}
	return nil
}

func (m Mount) tree() (tree, error) {
	t, err := m.open()
	if err == nil && m.ReadOnly {
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err = unix.MountSetattr(int(t), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
			_ = unix.Close(int(t))
		}
	}
	return t, err
}

func (m Mount) open() (tree, error) {
	if m.SubPath == "" {
		return openTree(unix.AT_FDCWD, m.Source, 0)
	}
	root, err := os.OpenRoot(m.Source)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	f, err := root.Open(m.SubPath)
	if errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll(m.SubPath, 0o755); err != nil {
			return 0, err
		}
		f, err = root.Open(m.SubPath)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return openTree(int(f.Fd()), "", unix.AT_EMPTY_PATH)
}

func openTree(dir int, path string, flags uint) (tree, error) {
	fd, err := unix.OpenTree(dir, path, flags|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	return tree(fd), err
}

// put mounts the tree on a path.
func (t tree) put(path string) error {
	return unix.MoveMount(int(t), "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func (t tree) isDir() bool {
	var stat unix.Stat_t
	return unix.Fstat(int(t), &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR
}

// makeTarget makes sure that there is something to mount on, and returns where it
// really is. In volumes, which done has the targets of, it is made as is; elsewhere
// the directory that lacks it is replaced by a mimic first, for it is the node's.
func makeTarget(path string, dir bool, done []string) (string, error) {
	there, missing, err := resolve(path)
	if err != nil || missing == "" {
		return there, err
	}
	inVolume := slices.ContainsFunc(done, func(volume string) bool {
		return there == volume || strings.HasPrefix(there, volume+"/")
	})
	if !inVolume {
		if err := mimic(there); err != nil {
			return "", fmt.Errorf("replace %s: %w", there, err)
		}
	}
	return filepath.Join(there, missing), makeEmpty(filepath.Join(there, missing), dir)
}

// resolve follows the links in the part of a path that exists.
func resolve(path string) (there, missing string, err error) {
	for there = filepath.Clean("/" + path); ; {
		real, err := filepath.EvalSymlinks(there)
		if err == nil {
			return real, missing, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
		missing = filepath.Join(filepath.Base(there), missing)
		there = filepath.Dir(there)
	}
}

// makeEmpty makes an empty directory or file, and the directories above it.
func makeEmpty(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
