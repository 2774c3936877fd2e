package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// RunIfChild turns this process into the lab's if Spawn started it as one, and then
// never returns. Programs that call Spawn call this first thing.
func RunIfChild() {
	config := os.Getenv(childEnv)
	if config == "" {
		return
	}
	_ = os.Unsetenv(childEnv) // not for the programs that run in the lab
	report := reporter(os.NewFile(reportFD, "report"))
	if err := runChild(config, report); err != nil {
		slog.Error("lab ended", "error", err)
		report(Step{Error: err.Error(), Denied: IsPermission(err)})
		os.Exit(1)
	}
	os.Exit(0)
}

func runChild(config string, report func(Step)) error {
	var c Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("decode the lab's configuration: %w", err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})))
	unix.CloseOnExec(reportFD)
	unix.CloseOnExec(lockFD) // else a program of the lab would hold the lock after a crash
	if err := furnish(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { _ = host.ReapOrphans(ctx) }()
	if c.Tied {
		unix.CloseOnExec(parentFD)
		go func() {
			_, _ = io.Copy(io.Discard, os.NewFile(parentFD, "parent")) // returns when the parent is gone
			stop()
		}()
	}
	lab, err := New(c)
	if err != nil {
		return err
	}
	return lab.Run(ctx, report)
}

// furnish prepares the mount namespace: nothing mounted here is seen outside, and
// /run is ours, with the lock file of iptables and whatever else programs keep there.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return denied("make mounts private", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return denied("mount a /run of the lab's own", err)
	}
	// The numbers in /proc must be those of our PID namespace: whoever looks there for a
	// process to signal would else hit another one.
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return denied("mount a /proc of the lab's own", err)
	}
	return nil
}

// reporter writes steps to the parent, for as long as it listens.
func reporter(to *os.File) func(Step) {
	enc := json.NewEncoder(to)
	return func(s Step) {
		if err := enc.Encode(s); err != nil && !errors.Is(err, syscall.EPIPE) {
			slog.Debug("report progress", "error", err)
		}
		if s.Ready || s.Error != "" {
			_ = to.Close()
		}
	}
}
