package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// State is the directory of one lab: what outlives its process.
//
//	lab.lock         held while the lab runs; says which process that is
//	lab.log          what the components logged
//	control.sock     the lab's door for ctl
//	kubeconfig       for the machine's own programs (127.0.0.1)
//	kubeconfig.lab   the same, with an address that works inside the lab
//	pki/, etcd/      the cluster's identity and its data
//	nodes/NAME/      what the node's agent keeps
type State struct {
	Name string
	Dir  string
}

// DefaultName is the lab that nobody named.
const DefaultName = "lab"

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$`)

// StateOf names the directory of a lab: $XDG_STATE_HOME/orrery/NAME; where that is
// not set /var/lib/orrery/NAME for root and ~/.local/state/orrery/NAME for others.
func StateOf(name string) (State, error) {
	if !validName.MatchString(name) {
		return State{}, fmt.Errorf("invalid lab name %q: use up to 32 lower case letters, digits and '-', starting and ending with a letter or digit", name)
	}
	root, err := stateRoot()
	if err != nil {
		return State{}, err
	}
	return State{Name: name, Dir: filepath.Join(root, name)}, nil
}

func stateRoot() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "orrery"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/orrery", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w; set XDG_STATE_HOME", err)
	}
	return filepath.Join(home, ".local", "state", "orrery"), nil
}

// Current is the lab a command means when it names none: $ORRERY_LAB, else of those
// that run the one that was started last, else the one started last, else the default.
func Current() (State, error) {
	if name := os.Getenv("ORRERY_LAB"); name != "" {
		return StateOf(name)
	}
	names, err := List()
	if err != nil {
		return State{}, fmt.Errorf("look for labs: %w", err)
	}
	current, err := StateOf(DefaultName)
	if err != nil {
		return current, err
	}
	for _, name := range names {
		s, err := StateOf(name)
		if err == nil && s.newerThan(current) {
			current = s
		}
	}
	return current, nil
}

// newerThan compares by whether they run, then by when they were started.
func (s State) newerThan(other State) bool {
	_, runs := s.Running()
	_, otherRuns := other.Running()
	if runs != otherRuns {
		return runs
	}
	return s.started().After(other.started())
}

// started is when the lock was written last; the zero time if the lab never ran.
func (s State) started() time.Time {
	info, err := os.Stat(s.lockFile())
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// Kubeconfig is the file for programs on this machine.
func (s State) Kubeconfig() string { return filepath.Join(s.Dir, "kubeconfig") }

// InsideKubeconfig is the file for programs that run inside the lab.
func (s State) InsideKubeconfig() string { return filepath.Join(s.Dir, "kubeconfig.lab") }

// LogFile is where the lab's process logs.
func (s State) LogFile() string { return filepath.Join(s.Dir, "lab.log") }

func (s State) lockFile() string      { return filepath.Join(s.Dir, "lab.lock") }
func (s State) controlSocket() string { return filepath.Join(s.Dir, "control.sock") }

// holder is what the lock file says of the process that holds it.
type holder struct {
	PID int `json:"pid"`
}

// ErrRunning means that the lab's process is alive.
var ErrRunning = errors.New("already running")

// lock takes the lab's lock, or returns ErrRunning. The lock belongs to the open
// file, so it goes to a child with the descriptor and ends when the last one closes,
// however its process died.
func (s State) lock() (*os.File, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	f, err := os.OpenFile(s.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lab's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("lock %s: %w", s.lockFile(), err)
	}
	return f, nil
}

// Running says whether the lab's process is alive, and which one it is (0 while it
// is only starting).
func (s State) Running() (pid int, running bool) {
	f, err := os.Open(s.lockFile())
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, false
	}
	var h holder
	if err := json.NewDecoder(f).Decode(&h); err != nil {
		return 0, true
	}
	return h.PID, true
}

// Stop ends the lab's process in good order and returns when it is gone.
// It is not an error if it wasn't running.
func (s State) Stop() (wasRunning bool, err error) {
	pid, running := s.Running()
	if !running {
		return false, nil
	}
	if pid <= 0 {
		return true, fmt.Errorf("lab %q is just starting; try again in a moment", s.Name)
	}
	// A pidfd names one process for good: its number cannot come to mean another one
	// between the look and the signal.
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true, nil
	}
	if err != nil {
		return true, fmt.Errorf("find process %d of lab %q: %w", pid, s.Name, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return true, fmt.Errorf("stop process %d of lab %q: %w", pid, s.Name, err)
	}
	if awaitExit(fd, stopTimeout) {
		return true, nil
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	awaitExit(fd, stopTimeout)
	return true, fmt.Errorf("lab %q did not stop within %v and was killed; its data is safe, %s says more", s.Name, stopTimeout, s.LogFile())
}

// Remove deletes the lab's directory, the cluster's data included.
func (s State) Remove() error {
	lock, err := s.lock()
	if err != nil {
		return fmt.Errorf("remove lab %q: %w", s.Name, err)
	}
	defer lock.Close()
	return os.RemoveAll(s.Dir)
}

// List names the labs that have a directory.
func List() ([]string, error) {
	root, err := stateRoot()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// awaitExit waits until the process behind a pidfd is gone.
func awaitExit(pidfd int, timeout time.Duration) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(timeout.Milliseconds()))
		if !errors.Is(err, syscall.EINTR) {
			return err == nil && n > 0
		}
	}
}
