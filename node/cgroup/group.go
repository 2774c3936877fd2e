package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the cgroup of one run of a container. Nobody has been in it before.
type Group struct {
	dir  string
	file *os.File
}

// NewGroup makes a group in a Pod's.
func NewGroup(pod, name string, files Files) (*Group, error) {
	dir := filepath.Join(pod, name)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if err = remove(dir); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := write(dir, files); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	file, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &Group{dir: dir, file: file}, nil
}

// OpenGroup opens a group that NewGroup made, maybe in another process.
func OpenGroup(pod, name string) (*Group, error) {
	dir := filepath.Join(pod, name)
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Group{dir: dir, file: file}, nil
}

// File stands for the group where a process is to be born in it.
func (g *Group) File() *os.File { return g.file }

// OOMKilled says whether the kernel killed somebody in the group for want of memory.
func (g *Group) OOMKilled() bool {
	events, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	return err == nil && killed(string(events))
}

// killed reads memory.events.
func killed(events string) bool {
	for line := range strings.Lines(events) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" && f[1] != "0" {
			return true
		}
	}
	return false
}

// Remove removes the group, and kills who is in it.
func (g *Group) Remove() error { return errors.Join(g.file.Close(), remove(g.dir)) }

// goneTime is how long killed processes may take to be gone.
const goneTime = 5 * time.Second

func remove(dir string) error {
	_ = writeFile(filepath.Join(dir, "cgroup.kill"), "1") // Linux 5.14; mostly nobody is left
	for end := time.Now().Add(goneTime); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Rmdir(dir)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(end):
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
}
