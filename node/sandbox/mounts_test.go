package sandbox

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMount(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"config/a": "A", "config/deep/b": "B", "file": "F"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "config/out")); err != nil {
		t.Fatal(err)
	}
	memory := filepath.Join(dir, "memory")
	if err := os.Mkdir(memory, 0o777); err != nil {
		t.Fatal(err)
	}
	s, err := Create(Config{Name: "default/test", Dir: filepath.Join(dir, "box"), Hostname: "me", Hosts: "mine", Memory: []Memory{{memory, 1 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	main := place(t, s, PlaceConfig{Name: "main", BuiltIn: true, Mounts: []Mount{
		{Source: memory, Target: dir + "/config/memory"}, // made in the volume of the next but one
		{Source: dir, Target: "/etc/orrery-test/all"},
		{Source: dir + "/config", Target: dir}, // hides every source
		{Source: dir + "/config", Target: "/orrery-test/ro", ReadOnly: true},
		{Source: dir + "/config", SubPath: "deep/b", Target: "/orrery-test/b"},
		{Source: dir, SubPath: "made/here", Target: "/usr/share/orrery-test"},
		{Source: dir + "/file", Target: "/etc/hosts"},
	}})
	sh := func(script string) string {
		t.Helper()
		var out strings.Builder
		if err := main.Run(t.Context(), Process{Argv: []string{"sh", "-c", script}, Env: os.Environ(), Dir: "/", Stdout: &out, Stderr: &out}); err != nil {
			t.Errorf("%s: %v: %s", script, err, &out)
		}
		return out.String()
	}
	for script, want := range map[string]string{
		"cat /orrery-test/ro/a /orrery-test/b /etc/hosts /etc/orrery-test/all/file":                               "ABFF",
		"touch /orrery-test/ro/x 2>/dev/null || echo refused":                                                     "refused\n",
		"cat " + dir + "/a; stat -f -c %T " + dir + "/config/memory":                                              "Atmpfs\n",
		"touch /usr/share/orrery-test/x; ls /etc/orrery-test/all/made/here":                                       "x\n",
		"cat /etc/hostname; test -x /bin/sh && test -d /proc/self && test -e /etc/passwd && readlink -f /proc/..": "me\n/\n",
	} {
		if got := sh(script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	// The Pod's other containers, and the node, see nothing of it.
	if out, err := run(t, s, "ls", "/orrery-test"); err == nil {
		t.Errorf("the Pod sees %q", out)
	}
	for _, path := range []string{"/orrery-test", "/etc/orrery-test", "/usr/share/orrery-test", memory + "/x"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was made on the node", path)
		}
	}
	f, err := main.Open("/orrery-test/b")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if data, err := io.ReadAll(f); err != nil || string(data) != "B" {
		t.Errorf("read %q, %v", data, err)
	}
	if _, err := s.NewPlace(PlaceConfig{Name: "escape", Mounts: []Mount{{Source: dir + "/config", SubPath: "out/passwd", Target: "/orrery-test"}}}); err == nil {
		t.Error("a subPath led out of its volume")
	}
}

func TestClosingAPlaceEndsPrograms(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]PlaceConfig{"a PID namespace of its own": {}, "the node's": {HostPID: true}} {
		t.Run(name, func(t *testing.T) {
			s := create(t, t.TempDir())
			defer s.Close()
			main := place(t, s, c)
			started, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- main.Run(t.Context(), Process{Main: true, Argv: []string{"sleep", "1000"}, Env: os.Environ(), Dir: "/", Started: func(int) { close(started) }})
			}()
			<-started
			if err := main.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "signal 9") {
				t.Errorf("the program ended with %v", err)
			}
			if err := main.Run(t.Context(), Process{Argv: []string{"true"}, Dir: "/"}); err != errClosed {
				t.Errorf("in a place that is gone: %v", err)
			}
			if out, err := run(t, s, "echo", "on"); err != nil || out != "on\n" {
				t.Errorf("the Pod's other containers: %q, %v", out, err)
			}
		})
	}
}
