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
	return replace(dir, names)
}

// replace is a mimic with only some of what is in the directory.
func replace(dir string, names []string) error {
	copies := make([]copied, 0, len(names))
	defer func() {
		for _, c := range copies {
			c.close()
		}
	}()
	for _, name := range names {
		// What cannot be taken is left out: it ended meanwhile, or is not for this user.
		if c, err := take(filepath.Join(dir, name)); err == nil {
			copies = append(copies, c)
		}
	}
	if err := mountMemory(dir, "mode=0755"); err != nil {
		return err
	}
	for _, c := range copies {
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
