package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// newHost makes a namespace with a working loopback.
func newHost(t *testing.T, prepare func() error) *Host {
	t.Helper()
	h, err := Create("test", prepare)
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skipf("namespaces need privileges: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	lo, err := links.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := links.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEveryHostHasItsOwnLoopback(t *testing.T) {
	a, b := newHost(t, nil), newHost(t, nil)
	ctx := context.Background()
	for name, h := range map[string]*Host{"a": a, "b": b} {
		ln, err := h.Listen(ctx, "tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, name)
				_ = conn.Close()
			}
		}()
	}
	for want, h := range map[string]*Host{"a": a, "b": b} {
		conn, err := h.Dial(ctx, "tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn)
		_ = conn.Close()
		if string(got) != want {
			t.Errorf("in %s, 127.0.0.1 is %q", want, got)
		}
	}
}

func TestTheOwnPlaceIsUntouched(t *testing.T) {
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, nil)
	for range 20 {
		if err := h.Do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		after, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil || after != before {
			t.Fatalf("a thread came back in %s (%v)", after, err)
		}
	}
}

func TestLinksAreThoseOfTheHost(t *testing.T) {
	h := newHost(t, nil)
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	if err := links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "orrery-test"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/class/net/orrery-test"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bridge is on this machine: %v", err)
	}
	out, err := h.Command(context.Background(), "ip", "-o", "link").Output()
	if err != nil || !strings.Contains(string(out), "orrery-test") {
		t.Errorf("a program of the host sees %s (%v)", out, err)
	}
}

func TestMountsAreSeenByTheHostsProgramsOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("ours"), 0o644); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "theirs")
	if err := os.WriteFile(theirs, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, func() error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		return unix.Mount(theirs, file, "", unix.MS_BIND, "")
	})
	out, err := h.Command(context.Background(), "cat", file).Output()
	if err != nil || string(out) != "theirs" {
		t.Errorf("the host's program reads %q (%v)", out, err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "ours" {
		t.Errorf("this process reads %q (%v)", b, err)
	}
}

func TestDialRefusesNames(t *testing.T) {
	h := newHost(t, nil)
	if _, err := h.Dial(context.Background(), "tcp", "localhost:80"); err == nil || !strings.Contains(err.Error(), "literal") {
		t.Errorf("error is %v", err)
	}
}

func TestCommandErrorsSayWhatRan(t *testing.T) {
	var here *Host
	_, err := here.Command(context.Background(), "sh", "-c", "echo no such thing >&2; exit 3").Output()
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "sh -c") {
		t.Errorf("error is %v", err)
	}
	_, err = here.Command(context.Background(), "no-such-program").Output()
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("error is %v", err)
	}
}

// TestReapOrphans runs this test binary as process 1 of a PID namespace.
func TestReapOrphans(t *testing.T) {
	if os.Getenv("ORRERY_TEST_INIT") != "" {
		beInit(t)
		return
	}
	var here *Host
	cmd := here.Command(context.Background(), "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc",
		os.Args[0], "-test.run=^TestReapOrphans$", "-test.v")
	cmd.Env = append(os.Environ(), "ORRERY_TEST_INIT=1")
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "unshare:") && os.Getenv("CI") == "" {
		t.Skipf("PID namespaces need privileges: %s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// beInit makes orphans, and checks that they are collected while the results of its
// own children are not lost.
func beInit(t *testing.T) {
	if os.Getpid() != 1 {
		t.Fatalf("this is process %d", os.Getpid())
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ReapOrphans(ctx) }()
	var here *Host
	for range 20 {
		// The shell ends before its child, which is then ours.
		cmd := here.Command(ctx, "sh", "-c", "sleep 0.02 & exit 7")
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 7 {
			t.Fatalf("the shell's status is lost: %v", err)
		}
	}
	for zombies := -1; zombies != 0; {
		_ = here.Command(ctx, "sleep", "0.05").Run()
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		zombies = 0
		for _, path := range stats {
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), ") Z ") {
				zombies++
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
