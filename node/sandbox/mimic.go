package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mimic replaces a directory, for the calling thread's mount namespace, by one in memory
// in which all that was in it is mounted under its name. So names can be added that the
// node's own directory lacks, the root directory included, without writing to the node.
//
// Upstream has no counterpart: a container has a root file system of its own, where
// the runtime makes what is missing.
func mimic(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	all := gather(dir, names)
	defer all.close()
	return all.replace(dir)
}

// gathered is some of what is in a directory.
type gathered []copied

// gather leaves out what cannot be taken: it ended meanwhile, or is not for this user.
func gather(dir string, names []string) gathered {
	copies := make(gathered, 0, len(names))
	for _, name := range names {
		if c, err := take(filepath.Join(dir, name)); err == nil {
			copies = append(copies, c)
		}
	}
	return copies
}

func (g gathered) close() {
	for _, c := range g {
		c.close()
	}
}

// replace makes a directory one in memory that has only what was gathered there.
func (g gathered) replace(dir string) error {
	if err := mountMemory(dir, "mode=0755"); err != nil {
		return err
	}
	for _, c := range g {
		if err := c.put(); err != nil {
			return fmt.Errorf("put %s back: %w", c.path, err)
		}
	}
	return nil
}

// copied is an entry of a directory: a link, or a tree that is mounted again.
type copied struct {
	path string
	link string
	tree tree
}

func take(path string) (copied, error) {
	if link, err := os.Readlink(path); err == nil {
		return copied{path: path, link: link}, nil
	}
	t, err := openTree(unix.AT_FDCWD, path, 0)
	return copied{path: path, tree: t}, err
}

func (c copied) put() error {
	if c.link != "" {
		return os.Symlink(c.link, c.path)
	}
	if err := makeEmpty(c.path, c.tree.isDir()); err != nil {
		return err
	}
	return c.tree.put(c.path)
}

func (c copied) close() {
	if c.link == "" {
		_ = unix.Close(int(c.tree))
	}
}

// mountMemory mounts a file system in memory. On the root directory, the thread's root
// becomes the new one, as does that of every thread that enters the namespace later.
func mountMemory(dir, options string) error {
	if dir != "/" {
		return unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	}
	config, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(config)
	if err := errors.Join(unix.FsconfigSetString(config, "mode", "0755"), unix.FsconfigCreate(config)); err != nil {
		return err
	}
	root, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if err := tree(root).put("/"); err != nil {
		return err
	}
	if err := unix.Fchdir(root); err != nil {
		return err
	}
	return unix.Chroot(".")
}
