package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names that a program may find in a volume beside its files, as upstream's.
const (
	dataLink    = "..data"     // to the directory with the present contents
	newDataLink = "..data_tmp" // becomes dataLink
)

// Write makes payload the contents of dir, all at once for whoever looks: the files
// lie in a directory with the time for a name, ..data is a link to it that is replaced
// in one step, and each visible name is a link into ..data that never changes.
// It writes nothing if the contents are as wanted. group may read them; -1: none in
// particular.
func Write(dir string, payload Payload, group int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if group >= 0 {
		payload = payload.readableByGroup()
	}
	if old != "" && holds(filepath.Join(dir, old), payload) {
		return nil
	}
	fresh, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	if err := writeFiles(fresh, payload); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if group >= 0 {
		if err := giveTo(fresh, group); err != nil {
			return errors.Join(err, os.RemoveAll(fresh))
		}
	}
	next := filepath.Join(dir, newDataLink)
	_ = os.Remove(next) // of a writer that crashed
	if err := os.Symlink(filepath.Base(fresh), next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := showNames(dir, payload); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

func writeFiles(dir string, payload Payload) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, file := range payload {
		path := filepath.Join(dir, name)
		if !filepath.IsLocal(name) {
			return fmt.Errorf("path %q leaves the volume", name)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, file.Data, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, fs.FileMode(file.Mode)); err != nil { // whatever the umask is
			return err
		}
	}
	return nil
}

// holds says whether a directory has exactly the files of payload.
func holds(dir string, payload Payload) bool {
	found := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		want, ok := payload[name]
		if err != nil || !ok || !bytes.Equal(data, want.Data) || info.Mode().Perm() != fs.FileMode(want.Mode) {
			return errors.Join(errors.New("other contents"), err)
		}
		found++
		return nil
	})
	return err == nil && found == len(payload)
}

// showNames makes the visible links exactly those of payload.
func showNames(dir string, payload Payload) error {
	var names []string
	for path := range payload {
		top, _, _ := strings.Cut(filepath.Clean(path), "/")
		if !slices.Contains(names, top) {
			names = append(names, top)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, "..") && !slices.Contains(names, name) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
