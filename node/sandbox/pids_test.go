package sandbox

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"orrery.example.org/node/workload"
)

// shell runs a script beside a container's own program.
func shell(t *testing.T, l *Place, script string) string {
	t.Helper()
	var out strings.Builder
	if err := l.Run(t.Context(), Process{Argv: []string{"sh", "-c", script}, Env: os.Environ(), Dir: "/", Stdout: &out, Stderr: &out}); err != nil {
		t.Errorf("%s: %v: %s", script, err, &out)
	}
	return out.String()
}

// eventually runs a script until it writes what is wanted.
func eventually(t *testing.T, l *Place, script, want string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = shell(t, l, script); got == want {
			return
		}
	}
	t.Errorf("%s: %q, want %q", script, got, want)
}

// begin runs a container's own program. wait tells how it ended.
func begin(t *testing.T, l *Place, argv ...string) (wait func() error) {
	t.Helper()
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- l.Run(t.Context(), Process{Main: true, Argv: argv, Env: os.Environ(), Dir: "/", Started: func(int) { close(started) }})
	}()
	<-started
	return func() error { return <-ended }
}

func TestAContainersProcesses(t *testing.T) {
	needRoot(t)
	s := create(t, t.TempDir())
	defer s.Close()
	main, other := place(t, s, PlaceConfig{Name: "main"}), place(t, s, PlaceConfig{Name: "other"})
	if err := main.Run(t.Context(), Process{Argv: []string{"true"}, Dir: "/"}); err == nil || err.Error() != "the container is not running" {
		t.Errorf("a program before the container's own: %v", err)
	}
	ended := begin(t, main, "sleep", "1000")
	begin(t, other, "sleep", "2000")
	if got := shell(t, main, "tr '\\0' ' ' < /proc/1/cmdline"); got != "sleep 1000 " {
		t.Errorf("process 1: %q", got)
	}
	shell(t, main, "setsid sleep 3000 >/dev/null 2>&1 &")
	eventually(t, main, "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep", "2\n")
	beside := make(chan error, 1)
	go func() {
		beside <- main.Run(t.Context(), Process{Argv: []string{"sleep", "4000"}, Dir: "/"})
	}()
	eventually(t, main, "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep", "3\n")
	main.mustKill(t)
	killed := workload.Exit{Code: 137, Signal: 9}
	if err := ended(); !errors.Is(err, killed) {
		t.Errorf("process 1 ended with %v", err)
	}
	if err := <-beside; !errors.Is(err, killed) {
		t.Errorf("a program beside it ended with %v", err)
	}
	if err := main.Run(t.Context(), Process{Argv: []string{"true"}, Dir: "/"}); err != errClosed {
		t.Errorf("a program after its end: %v", err)
	}
	if got := shell(t, other, "tr '\\0' ' ' < /proc/1/cmdline"); got != "sleep 2000 " {
		t.Errorf("the other container's process 1: %q", got)
	}
}

// TestProcOnOlderKernels mounts a /proc in the way that needs no new system call.
func TestProcOnOlderKernels(t *testing.T) {
	needRoot(t)
	s := create(t, t.TempDir())
	defer s.Close()
	main := place(t, s, PlaceConfig{})
	begin(t, main, "sleep", "1000")
	if err := main.host.Do(func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }); err != nil {
		t.Fatal(err)
	}
	if err := main.showFromInside(); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, main, "tr '\\0' ' ' < /proc/1/cmdline"); got != "sleep 1000 " {
		t.Errorf("process 1: %q", got)
	}
}

// mustKill kills process 1, as somebody on the node can.
func (l *Place) mustKill(t *testing.T) {
	t.Helper()
	if err := killAll(l.host); err != nil {
		t.Fatal(err)
	}
}

func TestSharedProcesses(t *testing.T) {
	needRoot(t)
	s := create(t, t.TempDir())
	defer s.Close()
	shared := PlaceConfig{PIDs: s.SharedPIDs()}
	a, b := place(t, s, shared), place(t, s, shared)
	ended := begin(t, a, "sleep", "1000")
	begin(t, b, "sleep", "2000")
	eventually(t, a, "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep", "sleep infinity 3\n")
	// An orphan becomes the pause process's child, which has no use for it once it is dead.
	shell(t, a, "sh -c 'true &'")
	eventually(t, a, "cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z' || true", "0\n")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ended(); !errors.Is(err, workload.Exit{Code: 137, Signal: 9}) {
		t.Errorf("the closed place's program ended with %v", err)
	}
	eventually(t, b, "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep", "2\n")
}

func TestAPlacesDirectories(t *testing.T) {
	needRoot(t)
	s := create(t, t.TempDir())
	defer s.Close()
	a, b := place(t, s, PlaceConfig{BuiltIn: true}), place(t, s, PlaceConfig{BuiltIn: true})
	if got := shell(t, a, "ls -A /tmp /dev/shm; stat -c %a /tmp /dev/shm; echo a > /tmp/orrery-a; echo shared > /dev/shm/orrery-a"); got != "/dev/shm:\n\n/tmp:\n1777\n1777\n" {
		t.Errorf("at first: %q", got)
	}
	if got := shell(t, b, "ls /tmp; cat /dev/shm/orrery-a; df -k --output=size /dev/shm | tail -1; ls /dev | tr '\\n' ' '"); got !=
		"shared\n    65536\nfd full null ptmx pts random shm stderr stdin stdout tty urandom zero " {
		t.Errorf("the Pod's other container: %q", got)
	}
	if got := shell(t, a, "head -c 3 /dev/zero | wc -c; echo > /dev/null; echo out > /dev/stdout"); got != "3\nout\n" {
		t.Errorf("devices: %q", got)
	}
	for _, path := range []string{"/tmp/orrery-a", "/dev/shm/orrery-a"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is on the node", path)
		}
	}
	namespaces := func(l *Place) string { return shell(t, l, "readlink /proc/self/ns/ipc") }
	own, err := os.Readlink("/proc/self/ns/ipc")
	if err != nil {
		t.Fatal(err)
	}
	if x, y := namespaces(a), namespaces(b); x != y || x == own+"\n" {
		t.Errorf("IPC namespaces %q and %q, the node's is %q", x, y, own)
	}
}
