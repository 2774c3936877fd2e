package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// processDir, in a sandbox's directory, has a file per running process: named by the
// pid, holding the process's start time, which tells it from a later owner of the pid.
const processDir = "processes"

func (s *Sandbox) record(pid int) {
	if start, err := StartTime(pid); err == nil {
		// Not being able to note it down matters only after a crash.
		_ = os.WriteFile(filepath.Join(s.dir, processDir, strconv.Itoa(pid)), []byte(start), 0o644)
	}
}

func (s *Sandbox) forget(pid int) {
	_ = os.Remove(filepath.Join(s.dir, processDir, strconv.Itoa(pid)))
}

// killAll kills every process in the place's mount namespace: what programs left
// behind would keep the namespaces alive.
func killAll(place *host.Host) error {
	var own unix.Stat_t
	if err := unix.Fstat(int(place.MountNS().Fd()), &own); err != nil {
		return err
	}
	namespace := fmt.Sprintf("mnt:[%d]", own.Ino)
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, p := range procs {
		if pid, err := strconv.Atoi(p.Name()); err == nil && pid != os.Getpid() {
			killIfIn(namespace, filepath.Join("/proc", p.Name()))
		}
	}
	return nil
}

// killIfIn kills a process, given by its directory in /proc, if it is in the mount
// namespace. The open directory stands for the process like a pidfd does, so that a
// later owner of the number is safe.
func killIfIn(namespace, dir string) {
	process, err := os.Open(dir)
	if err != nil {
		return // it ended
	}
	defer process.Close()
	found := make([]byte, len(namespace)+1)
	n, err := unix.Readlinkat(int(process.Fd()), "ns/mnt", found)
	if err == nil && string(found[:n]) == namespace {
		_ = unix.PidfdSendSignal(int(process.Fd()), unix.SIGKILL, nil, 0) // it may have ended by itself
	}
}

// RemoveLeftovers removes the sandbox directories in dir that an agent left when it
// ended, and kills the processes that they record. Of those directories that are to be
// kept, by their name, the processes with these numbers are spared and all files stay.
func RemoveLeftovers(dir string, keep map[string][]int) error {
	boxes, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, box := range boxes {
		path := filepath.Join(dir, box.Name())
		if spared, kept := keep[box.Name()]; kept {
			errs = append(errs, killRecorded(path, spared))
		} else {
			errs = append(errs, RemoveLeftover(path))
		}
	}
	_ = os.Remove(dir) // unless something is kept
	return errors.Join(errs...)
}

// RemoveLeftover removes one sandbox's directory, and kills the processes that it records.
func RemoveLeftover(dir string) error {
	return errors.Join(killRecorded(dir, nil), os.RemoveAll(dir))
}

// killRecorded kills the processes that a sandbox's directory records, with their groups.
func killRecorded(dir string, spared []int) error {
	records, err := filepath.Glob(filepath.Join(dir, processDir, "*"))
	if err != nil {
		return err
	}
	for _, file := range records {
		pid, err := strconv.Atoi(filepath.Base(file))
		if err != nil || slices.Contains(spared, pid) {
			continue
		}
		recorded, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if start, err := StartTime(pid); err == nil && start == string(recorded) {
			_ = unix.Kill(-pid, unix.SIGKILL)
		}
		_ = os.Remove(file)
	}
	return nil
}

// StartTime is when a process was started, in clock ticks since boot, with the boot's id.
func StartTime(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the program's name in brackets and may hold anything.
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const startField = 19 // 22 in proc(5), counted from the third
	if len(fields) <= startField {
		return "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	return strings.TrimSpace(string(boot)) + " " + fields[startField], nil
}
