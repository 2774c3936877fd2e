package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
	"orrery.example.org/node/workload"
)

// needRoot skips a test that cannot make namespaces, but never in CI. Package node's
// stories run sandboxes as an ordinary user.
func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("CI") != "":
		t.Fatal("needs root to make namespaces")
	default:
		t.Skip("needs root to make namespaces")
	}
}

func create(t *testing.T, dir string) *Sandbox {
	t.Helper()
	s, err := Create(Config{Name: "default/test", Dir: dir, Hostname: "me", ResolvConf: "nameserver 192.0.2.1\n", Hosts: "192.0.2.2\tme\n"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// place makes a container's place.
func place(t *testing.T, s *Sandbox, c PlaceConfig) *Place {
	t.Helper()
	l, err := s.NewPlace(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run returns what a program, which is a container's own, writes.
func run(t *testing.T, s *Sandbox, argv ...string) (string, error) {
	t.Helper()
	l := place(t, s, PlaceConfig{Name: "run"})
	defer l.Close()
	var out strings.Builder
	err := l.Run(t.Context(), Process{Main: true, Argv: argv, Env: os.Environ(), Dir: "/", Stdout: &out, Stderr: &out})
	return out.String(), err
}

func TestFilesWhereEtcLacksThem(t *testing.T) {
	needRoot(t)
	for name, prepare := range map[string]func() error{
		"there": func() error {
			return errors.Join(os.WriteFile("/etc/resolv.conf", nil, 0o644), os.WriteFile("/etc/hosts", nil, 0o644), os.WriteFile("/etc/hostname", nil, 0o644))
		},
		"a link to a file": func() error {
			return errors.Join(os.WriteFile("/etc/real", nil, 0o644), os.Symlink("real", "/etc/resolv.conf"),
				os.WriteFile("/etc/hosts", nil, 0o644), os.WriteFile("/etc/hostname", nil, 0o644))
		},
		"a link to nowhere": func() error {
			return errors.Join(os.Symlink("../run/none/resolv.conf", "/etc/resolv.conf"),
				os.WriteFile("/etc/hosts", nil, 0o644), os.WriteFile("/etc/hostname", nil, 0o644))
		},
		"missing": func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := Config{Name: "default/test", Dir: dir, Hostname: "me", ResolvConf: "mine", Hosts: "mine"}
			if err := writeFiles(c); err != nil {
				t.Fatal(err)
			}
			h, err := host.Create("test", func() error {
				if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
					return err
				}
				if err := unix.Mount("tmpfs", "/etc", "tmpfs", 0, ""); err != nil {
					return err
				}
				if err := prepare(); err != nil {
					return err
				}
				return mountFiles(dir)
			})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			out, err := h.Command(t.Context(), "cat", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname").Output()
			if err != nil || string(out) != "minemineme\n" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

func TestTheMachineKeepsItsFiles(t *testing.T) {
	needRoot(t)
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	s := create(t, t.TempDir())
	defer s.Close()
	if out, err := run(t, s, "cat", "/etc/hosts"); err != nil || out != "192.0.2.2\tme\n" {
		t.Errorf("inside: %q, %v", out, err)
	}
	if after, err := os.ReadFile("/etc/hosts"); err != nil || string(after) != string(before) {
		t.Errorf("outside: %q became %q, %v", before, after, err)
	}
}

func TestHowProgramsEnd(t *testing.T) {
	needRoot(t)
	s := create(t, t.TempDir())
	defer s.Close()
	for script, want := range map[string]error{
		"exit 0":        nil,
		"exit 3":        workload.Exit{Code: 3},
		"kill -9 $$":    workload.Exit{Code: 137, Signal: 9},
		"kill -TERM $$": workload.Exit{Code: 143, Signal: 15},
	} {
		// Among the node's processes: the first of a PID namespace does not hear its own signals.
		main := place(t, s, PlaceConfig{Name: "main", HostPID: true})
		err := main.Run(t.Context(), Process{Main: true, Argv: []string{"sh", "-c", script}, Env: os.Environ(), Dir: "/"})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", script, err, want)
		}
	}
	if _, err := run(t, s, "no-such-program"); err == nil || !strings.Contains(err.Error(), "not found in $PATH") {
		t.Errorf("missing program: %v", err)
	}
	if records, err := os.ReadDir(filepath.Join(s.dir, processDir)); err != nil || len(records) != 0 {
		t.Errorf("records of ended processes: %v, %v", records, err)
	}
}

func TestKillTakesTheWholeGroup(t *testing.T) {
	needRoot(t)
	s := create(t, t.TempDir())
	defer s.Close()
	main := place(t, s, PlaceConfig{Name: "main", HostPID: true})
	ctx, kill := context.WithCancel(t.Context())
	started := make(chan struct{})
	var out strings.Builder
	ended := make(chan error, 1)
	go func() {
		ended <- main.Run(ctx, Process{Main: true, Argv: []string{"sh", "-c", "sleep 1000 & sleep 1000"}, Env: os.Environ(), Dir: "/", Stdout: &out, Started: func(int) { close(started) }})
	}()
	<-started
	begin := time.Now()
	kill()
	if err := <-ended; !errors.Is(err, workload.Exit{Code: 137, Signal: 9}) {
		t.Errorf("ended with %v", err)
	}
	// The child held the output pipe: had it lived, Run would have waited for drainTime.
	if took := time.Since(begin); took >= drainTime {
		t.Errorf("a child lived on for %s", took)
	}
}

func TestLeftoversAreKilled(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	s := create(t, filepath.Join(dir, "uid"))
	defer s.Close()
	main := place(t, s, PlaceConfig{Name: "main"})
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- main.Run(t.Context(), Process{Main: true, Argv: []string{"sleep", "1000"}, Env: os.Environ(), Dir: "/", Started: func(int) { close(started) }})
	}()
	<-started
	// A pid that another process has by now must not be killed.
	own := filepath.Join(dir, "uid", processDir, strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(own, []byte("some-boot 12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := RemoveLeftovers(dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, workload.Exit{Code: 137, Signal: 9}) {
		t.Errorf("the process ended with %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("directory: %v", err)
	}
}

func TestNothingStartsInAClosedSandbox(t *testing.T) {
	needRoot(t)
	s := create(t, t.TempDir())
	l := place(t, s, PlaceConfig{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context(), Process{Main: true, Argv: []string{"true"}, Dir: "/"}); err != errClosed {
		t.Errorf("a program in an old place: %v", err)
	}
	if _, err := s.NewPlace(PlaceConfig{}); err != errClosed {
		t.Errorf("a new place: %v", err)
	}
}
