package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cmd is an exec.Cmd that starts in its Host's namespaces.
type Cmd struct {
	*exec.Cmd
	// Before, unless nil, runs on the thread that starts the program, which is in the
	// Host's namespaces and ends afterwards: it may enter more of them.
	Before func() error
	// After, unless nil, runs on the same thread once the program has started.
	After func()
	host  *Host
}

// Command prepares a program to run in the Host's namespaces. name is looked up in
// PATH and then in the directories for system programs. ctx ends it by SIGKILL.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	path, err := LookPath(name)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Args[0] = name
	if err != nil {
		cmd.Err = err
	}
	return &Cmd{Cmd: cmd, host: h}
}

// Start starts the program without waiting for it.
func (c *Cmd) Start() error {
	return c.host.Do(func() error {
		if c.Before != nil {
			if err := c.Before(); err != nil {
				return err
			}
		}
		if err := c.Cmd.Start(); err != nil {
			return err
		}
		children.Store(c.Process.Pid, true)
		if c.After != nil {
			c.After()
		}
		return nil
	})
}

// Wait waits for the program that Start started.
func (c *Cmd) Wait() error {
	defer children.Delete(c.Process.Pid)
	return c.Cmd.Wait()
}

// Run starts the program and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns its standard output. An error carries the
// argument vector and what the program wrote to standard error.
func (c *Cmd) Output() ([]byte, error) {
	var out, stderr strings.Builder
	c.Stdout, c.Stderr = &out, &stderr
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return []byte(out.String()), err
}

// systemPath is searched after PATH: an ordinary user's PATH on Debian lacks it.
var systemPath = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"}

// LookPath finds a program in PATH or in the directories for system programs.
func LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || !errors.Is(err, exec.ErrNotFound) || strings.Contains(name, "/") {
		return path, err
	}
	for _, dir := range systemPath {
		p := filepath.Join(dir, name)
		if info, statErr := os.Stat(p); statErr == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return name, fmt.Errorf("%s: program not found in PATH or %s: %w", name, strings.Join(systemPath, ":"), fs.ErrNotExist)
}

func setReusePort(_, _ string, c syscall.RawConn) error {
	var err error
	if ctlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); ctlErr != nil {
		return ctlErr
	}
	return err
}
