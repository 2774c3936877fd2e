package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is a directory of the node that a container has as its root directory. Nothing is
// ever written to it: an overlay puts a layer over it, which lasts as long as the place.
//
// Upstream counterpart: a snapshot of an image, as containerd's overlay snapshotter makes
// it. This one has a single lower layer.
type Root struct {
	Dir        string
	ReadOnly   bool   // the container may write to its volumes only
	WorkingDir string // made if it is missing
}

// ErrRoot is that a container cannot have its root directory.
var ErrRoot = errors.New("change the root directory")

// nodeFiles are what a container finds in its root directory of the node and the Pod.
func (s *Sandbox) nodeFiles(devices bool) []Mount {
	mounts := []Mount{{Source: "/proc", Target: "/proc"}, {Source: "/sys", Target: "/sys"}}
	if devices {
		mounts = append(mounts, Mount{Source: "/dev", Target: "/dev"})
	}
	for _, name := range podFiles {
		mounts = append(mounts, Mount{Source: filepath.Join(s.dir, name), Target: "/etc/" + name})
	}
	return mounts
}

// enter makes the directory, with layer over it, the root directory of the calling
// thread's mount namespace. What was mounted there before is out of reach.
func (r *Root) enter(layer string) error {
	info, err := os.Stat(r.Dir)
	if err != nil {
		return err
	}
	options := "userxattr" // which user namespaces allow
	for _, part := range []struct{ name, dir string }{
		{"lowerdir", r.Dir}, {"upperdir", filepath.Join(layer, "upper")}, {"workdir", filepath.Join(layer, "work")},
	} {
		if err := os.MkdirAll(part.dir, 0o755); err != nil {
			return err
		}
		options += "," + part.name + "=" + escape(part.dir)
	}
	if err := os.Chmod(filepath.Join(layer, "upper"), info.Mode()&(fs.ModePerm|fs.ModeSticky)); err != nil {
		return err // the root directory's mode is that of its upper layer
	}
	merged := filepath.Join(layer, "root")
	if err := os.MkdirAll(merged, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("an overlay on %s, with its upper layer in %s: %w (overlayfs is needed, Linux 5.11 or newer in a user namespace, "+
			"and a state directory that is not on an overlay itself)", r.Dir, layer, err)
	}
	if err := os.Chdir(merged); err != nil {
		return err
	}
	// The old root directory is put over the new one, where it is taken away.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root directory: %w", err)
	}
	return os.Chdir("/")
}

// furnish gives the root directory what programs expect in it.
func (r *Root) furnish() error {
	if err := os.Mkdir("/tmp", 0o755); err == nil {
		err = os.Chmod("/tmp", fs.ModeSticky|fs.ModePerm)
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if r.WorkingDir == "" {
		return nil
	}
	if err := os.MkdirAll(r.WorkingDir, 0o755); err != nil {
		return fmt.Errorf("make the working directory: %w", err)
	}
	return nil
}

// seal makes the root directory itself, but nothing that is mounted in it, read-only.
func (r *Root) seal() error {
	if !r.ReadOnly {
		return nil
	}
	return unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// escape makes a path fit for the options of an overlay.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

// find looks a program up in the container's own directories and PATH.
func (l *Place) find(program string, env []string) (path string, err error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	search := ""
	for _, variable := range env {
		if value, found := strings.CutPrefix(variable, "PATH="); found {
			search = value
		}
	}
	err = l.do(func() error {
		for _, dir := range filepath.SplitList(search) {
			path = filepath.Join("/", dir, program)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return nil
			}
		}
		return notFound(program)
	})
	return path, err
}

func notFound(program string) error {
	return fmt.Errorf("exec: %q: executable file not found in $PATH", program)
}
