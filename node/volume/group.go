package volume

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Share makes an empty directory for everybody to write to. Whatever comes into it
// belongs to the group; -1: to the writer's own.
func Share(dir string, group int) error {
	if group < 0 {
		return os.Chmod(dir, 0o777) // whatever the umask is
	}
	if err := os.Chown(dir, -1, group); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777|fs.ModeSetgid)
}

// giveTo gives a tree to a group. What its members may do, the modes say.
func giveTo(root string, group int) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, -1, group)
	})
}

// readableByGroup is the payload with modes that let a group read it.
func (p Payload) readableByGroup() Payload {
	out := make(Payload, len(p))
	for name, file := range p {
		file.Mode |= 0o440
		out[name] = file
	}
	return out
}
