package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SetSysctl sets a kernel parameter of the Host's namespaces, given as the path below
// /proc/sys; a "*" in it means all there are. What has the value already is left alone:
// in a container /proc/sys is read-only, and whoever made it has set them.
func (h *Host) SetSysctl(name, value string) error {
	return h.Do(func() error {
		files, err := filepath.Glob("/proc/sys/" + name)
		if err == nil && len(files) == 0 {
			err = os.ErrNotExist
		}
		for _, file := range files {
			if err != nil {
				break
			}
			err = setSysctl(file, value)
		}
		if err != nil {
			return fmt.Errorf("set %s=%s: %w", strings.ReplaceAll(name, "/", "."), value, err)
		}
		return nil
	})
}

func setSysctl(file, value string) error {
	if now, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(now)) == value {
		return nil
	}
	return os.WriteFile(file, []byte(value), 0)
}
