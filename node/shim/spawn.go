package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// word is the first argument of a process that is a shim; the second is its directory.
const word = "orrery-shim"

// reportFD is where a new shim says that it listens, or why it does not.
const reportFD = 3

// RunIfShim makes this process a shim, if it was started to be one, and ends it when the
// shim ends. A program that opens a Client calls it before anything else.
func RunIfShim() {
	if len(os.Args) != 3 || os.Args[1] != word {
		return
	}
	unix.CloseOnExec(reportFD)
	report := os.NewFile(reportFD, "report")
	_ = os.WriteFile("/proc/self/comm", []byte(word), 0) // for people; it would be "exe"
	if err := beShim(os.Args[2], report); err != nil {
		fmt.Fprint(report, err) // whoever started it waits for that
		slog.Error("the shim ended", "err", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func beShim(dir string, report io.WriteCloser) error {
	lock, err := os.OpenFile(filepath.Join(dir, "shim.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another shim has %s: %w", dir, err)
	}
	debug.SetGCPercent(25) // it does little, for long
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return serve(ctx, dir, log, func() error {
		if _, err := lock.WriteAt(fmt.Appendf(nil, "%-8d\n", os.Getpid()), 0); err != nil { // for people
			return err
		}
		debug.FreeOSMemory() // the program's start left much
		_, err := io.WriteString(report, "ok")
		return errors.Join(err, report.Close())
	})
}

// spawn starts a shim that outlives this process, and returns when it listens.
func spawn(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, "shim.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	// setsid's child is nobody's: it needs no one to wait for it.
	var here *host.Host
	cmd := here.Command(context.Background(), "setsid", "--fork", fmt.Sprintf("/proc/%d/exe", os.Getpid()), word, dir)
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.ExtraFiles = log, log, "/", []*os.File{w}
	err = errors.Join(cmd.Run(), w.Close())
	if err != nil {
		return fmt.Errorf("setsid: %w", err)
	}
	said, err := io.ReadAll(r)
	if text := strings.TrimSpace(string(said)); err == nil && text != "ok" {
		err = fmt.Errorf("it said %q; more may be in %s", text, log.Name())
	}
	return err
}
