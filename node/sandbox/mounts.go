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

// tree is a detached copy of what is mounted somewhere, which can be put anywhere.
type tree int

// taken are mounts whose sources were taken, and are not yet put anywhere.
type taken struct {
	mounts []Mount
	trees  []tree
}

// takeAll takes the sources, before anything is mounted that may hide one of them.
func takeAll(mounts []Mount) (taken, error) {
	t := taken{mounts: slices.Clone(mounts)} // an outer directory is mounted before those in it
	slices.SortStableFunc(t.mounts, func(a, b Mount) int { return cmp.Compare(len(a.Target), len(b.Target)) })
	for _, m := range t.mounts {
		tree, err := m.tree()
		if err != nil {
			return t, fmt.Errorf("take %s: %w", filepath.Join(m.Source, m.SubPath), err)
		}
		t.trees = append(t.trees, tree)
	}
	return t, nil
}

func (t taken) close() {
	for _, tree := range t.trees {
		_ = unix.Close(int(tree))
	}
}

// put mounts them in the calling thread's mount namespace. private are directories there
// that may be written to.
func (t taken) put(private []string) error {
	for i, m := range t.mounts {
		target, err := makeTarget(m.Target, t.trees[i].isDir(), private)
		if err == nil {
			err = t.trees[i].put(target)
		}
		if err != nil {
			return fmt.Errorf("mount on %s: %w", m.Target, err)
		}
		private = append(private, target)
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
// really is. In volumes and other private directories it is made as is; elsewhere the
// directory that lacks it is replaced by a mimic first, for it is the node's.
func makeTarget(path string, dir bool, private []string) (string, error) {
	there, missing, err := resolve(path)
	if err != nil || missing == "" {
		return there, err
	}
	first, rest, _ := strings.Cut(missing, "/")
	if link, err := os.Readlink(filepath.Join(there, first)); err == nil { // to where nothing is
		if !filepath.IsAbs(link) {
			link = filepath.Join(there, link)
		}
		return makeTarget(filepath.Join(link, rest), dir, private)
	}
	ours := slices.ContainsFunc(private, func(p string) bool { return p == "/" || there == p || strings.HasPrefix(there, p+"/") })
	if !ours {
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
