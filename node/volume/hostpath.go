package volume

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// HostPath checks a path of the node, or makes it, as the volume's type asks for.
func HostPath(v *corev1.HostPathVolumeSource) error {
	kind := ptr.Deref(v.Type, corev1.HostPathUnset)
	info, err := os.Stat(v.Path)
	exists := err == nil
	check := func(is bool, what string) error {
		if !exists || !is {
			return fmt.Errorf("hostPath type check failed: %s is not a %s", v.Path, what)
		}
		return nil
	}
	switch kind {
	case corev1.HostPathDirectoryOrCreate:
		if !exists {
			return os.MkdirAll(v.Path, 0o755)
		}
		return check(info.IsDir(), "directory")
	case corev1.HostPathDirectory:
		return check(exists && info.IsDir(), "directory")
	case corev1.HostPathFileOrCreate:
		if !exists {
			return makeFile(v.Path)
		}
		return check(!info.IsDir(), "file")
	case corev1.HostPathFile:
		return check(exists && info.Mode().IsRegular(), "file")
	case corev1.HostPathSocket:
		return check(exists && info.Mode()&fs.ModeSocket != 0, "socket file")
	case corev1.HostPathCharDev:
		return check(exists && info.Mode()&fs.ModeCharDevice != 0, "character device")
	case corev1.HostPathBlockDev:
		return check(exists && info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice, "block device")
	default: // no check; as upstream's runtimes, a directory is made where nothing is
		if !exists {
			return os.MkdirAll(v.Path, 0o755)
		}
		return nil
	}
}

func makeFile(path string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
