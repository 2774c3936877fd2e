package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A lock belongs to an open file, and a process that this one is just starting has all
// of this one's files open until it has become another program. So for a moment a lock
// can outlive the Close of its file: one's own is given back by name before that, and
// etcd's are waited for.

// takeLock keeps a second process out. etcd locks its database too, but would wait
// there for ever without a word.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data directory %s: %w", path, err)
		}
		holder := make([]byte, 20)
		n, _ := f.Read(holder)
		return nil, fmt.Errorf("data directory %s is in use by another process (pid %s): stop it, or choose another directory",
			path, strings.TrimSpace(string(holder[:n])))
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteString(strconv.Itoa(os.Getpid()) + "\n") // only there to be read in the message above
	}
	return f, nil
}

// freeLock gives it back, whoever else has the file open.
func freeLock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // closing is what counts where nobody has
	_ = f.Close()
}

// logPatience is how long a closed log may stay locked: many times what a new process
// takes to become another program.
const logPatience = time.Second

// awaitLog waits until nobody holds a lock on a file of the log in a member's
// directory. etcd would give up at once.
func awaitLog(ctx context.Context, member string) error {
	late := time.After(logPatience)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		held, err := heldFile(filepath.Join(member, "wal"))
		if err != nil || held == "" {
			return err
		}
		select {
		case <-again.C:
		case <-late:
			return fmt.Errorf("%s is locked by another process", held)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// heldFile finds a file that somebody has locked. It only asks: a lock taken to find out
// could itself outlive its file.
func heldFile(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return "", err
	}
	for _, path := range files {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return "", fmt.Errorf("look whether the log is locked: %w", err)
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
		_ = f.Close()
		if err != nil {
			return "", fmt.Errorf("look whether %s is locked: %w", path, err)
		}
		if lock.Type != unix.F_UNLCK {
			return path, nil
		}
	}
	return "", nil
}
