package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
)

// Tree is the part of the hierarchy in which Pods are.
type Tree struct {
	dir string // kubepods
}

// controllers are what is needed of the kernel.
var controllers = []string{"cpu", "memory", "pids"}

// classes are the directories of Pods that may use less than they ask for, or ask for
// nothing. Guaranteed Pods are beside them.
var classes = map[corev1.PodQOSClass]string{
	corev1.PodQOSGuaranteed: "", corev1.PodQOSBurstable: "burstable", corev1.PodQOSBestEffort: "besteffort",
}

// Find makes kubepods at the top of the hierarchy, as kubelet does, or in the agent's own
// cgroup, where that was delegated to its user. The error says why neither can be.
func Find() (*Tree, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	top := mountPoint(string(mounts))
	if top == "" {
		return nil, errors.New("no cgroup v2 is mounted")
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	tree, err := plant(top)
	if below := filepath.Join(top, ownPath(string(own))); err != nil && below != top {
		var err2 error
		if tree, err2 = plant(below); err2 != nil {
			return nil, fmt.Errorf("%w; %w", err, err2)
		}
		return tree, nil
	}
	return tree, err
}

// mountPoint finds where version 2 is, in the lines of mountinfo. Of several the last one
// counts, which may be mounted over the others.
func mountPoint(mountinfo string) (dir string) {
	for line := range strings.Lines(mountinfo) {
		before, after, found := strings.Cut(line, " - ")
		if f := strings.Fields(before); found && len(f) > 4 && strings.HasPrefix(after, "cgroup2 ") {
			dir = unescape.Replace(f[4])
		}
	}
	return dir
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// ownPath finds the process's own cgroup of version 2, in the lines of /proc/self/cgroup.
func ownPath(text string) string {
	for line := range strings.Lines(text) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			return path
		}
	}
	return "/"
}

// plant makes kubepods in a directory.
func plant(dir string) (*Tree, error) {
	there, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	for _, name := range controllers {
		if !slices.Contains(strings.Fields(string(there)), name) {
			return nil, fmt.Errorf("%s lacks the controller %s (does version 1 have it?)", dir, name)
		}
	}
	err = enable(dir)
	if errors.Is(err, unix.EBUSY) { // no cgroup but the first has processes and children
		if err = evacuate(dir); err == nil {
			err = enable(dir)
		}
	}
	tree := &Tree{dir: filepath.Join(dir, "kubepods")}
	if err == nil {
		err = tree.make()
	}
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", tree.dir, err)
	}
	return tree, nil
}

// make makes kubepods and the classes.
func (t *Tree) make() error {
	for _, class := range []string{"", "burstable", "besteffort"} {
		if err := makeInner(filepath.Join(t.dir, class)); err != nil {
			return err
		}
	}
	// Those who ask for nothing get what the others leave.
	return write(filepath.Join(t.dir, "besteffort"), Files{"cpu.weight": "1"})
}

// Dir is kubepods.
func (t *Tree) Dir() string { return t.dir }

// Pod makes a Pod's cgroup.
func (t *Tree) Pod(pod *corev1.Pod, files Files) (string, error) {
	dir := filepath.Join(t.dir, classes[api.QOSClass(&pod.Spec)], "pod"+string(pod.UID))
	err := makeInner(dir)
	if errors.Is(err, fs.ErrNotExist) { // another agent has ended, and taken the classes with it
		if err = t.make(); err == nil {
			err = makeInner(dir)
		}
	}
	if err != nil {
		return "", err
	}
	return dir, write(dir, files)
}

// RemovePod removes the cgroups of a Pod, of whatever class, and kills who is in them.
func (t *Tree) RemovePod(uid string) error {
	var errs []error
	for _, class := range classes {
		dir := filepath.Join(t.dir, class, "pod"+uid)
		inside, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, entry := range inside {
			if entry.IsDir() {
				errs = append(errs, remove(filepath.Join(dir, entry.Name())))
			}
		}
		errs = append(errs, err, remove(dir))
	}
	return errors.Join(errs...)
}

// Close removes kubepods, unless there are Pods of other agents in it.
func (t *Tree) Close() {
	for _, class := range []string{"burstable", "besteffort", ""} {
		_ = os.Remove(filepath.Join(t.dir, class)) // what is not empty stays
	}
}

// makeInner makes a cgroup that has others in it.
func makeInner(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return enable(dir)
}

// enable lets the controllers work in what is below a directory.
func enable(dir string) error {
	return write(dir, Files{"cgroup.subtree_control": "+" + strings.Join(controllers, " +")})
}

// evacuate moves all processes of a cgroup into one below it.
func evacuate(dir string) error {
	leaf := filepath.Join(dir, "orrery-agent")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(pids)) {
		if err := write(leaf, Files{"cgroup.procs": pid}); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func write(dir string, files Files) error {
	for name, text := range files {
		err := writeFile(filepath.Join(dir, name), text)
		if errors.Is(err, fs.ErrNotExist) && name == "memory.swap.max" {
			continue // a kernel without swap
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes to a file that is there: nobody else can make one.
func writeFile(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
