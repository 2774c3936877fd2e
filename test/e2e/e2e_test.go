// Package e2e tells stories: what a person types, and what they see. Each story is a
// script in testdata, run against the built ctl, as root and as an ordinary user.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"orrery.example.org/lab"
)

// nobody is the ordinary user whose part root plays in TestAsUser.
const nobody = 65534

// TestStories runs every story as the user who runs the tests.
func TestStories(t *testing.T) {
	bin := ctlDir(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			// Short: a story's labs have sockets, and are looked for after it.
			state, err := os.MkdirTemp(tempRoot(), "e2e")
			if err != nil {
				return err
			}
			env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", state)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(state, "cache"))
			env.Setenv("ORRERY_LAB", "")
			for name, dir := range map[string]string{"SAMPLES": "testdata/samples", "DOCS": "testdata/docs"} {
				path, err := filepath.Abs(dir)
				if err != nil {
					return err
				}
				env.Setenv(name, path)
			}
			env.Defer(func() { cleanUp(t, state) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"eventually": eventually,
			"distinct":   distinct,
			"killlab":    killLab,
		},
		Condition: func(cond string) (bool, error) {
			if program, ok := strings.CutPrefix(cond, "program:"); ok {
				_, err := exec.LookPath(program)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// TestAsUser runs the stories again as nobody, in a user namespace, if root runs
// the tests.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the stories already run as an ordinary user")
	}
	bin := ctlDir(t)
	// A copy that nobody may read, in a directory that nobody may enter.
	dir, err := os.MkdirTemp("/tmp", "orrery-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, c := range [][]string{
		{"cp", os.Args[0], filepath.Join(dir, "e2e.test")},
		{"cp", filepath.Join(bin, "ctl"), filepath.Join(dir, "ctl")},
		{"cp", "-rL", "testdata", filepath.Join(dir, "testdata")},
		{"chown", "-R", strconv.Itoa(nobody), dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "e2e.test"), "-test.run=^TestStories$", "-test.v", "-test.count=1")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "ORRERY_TEST_CTL="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("as user %d: %v", nobody, err)
	}
	if !strings.Contains(string(out), "--- PASS: TestStories/tour") {
		t.Fatal("the tour did not run")
	}
}

// ctlDir is the directory of the built ctl.
func ctlDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ORRERY_TEST_CTL")
	if dir == "" {
		var err error
		if dir, err = filepath.Abs("../../bin"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ctl")); err != nil {
		t.Fatalf("ctl is not built, run scripts/build: %v", err)
	}
	return dir
}

func tempRoot() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/tmp"
}

// cleanUp ends the labs that a story left and reports them: a story takes its own down.
func cleanUp(t *testing.T, state string) {
	entries, _ := os.ReadDir(filepath.Join(state, "orrery"))
	for _, e := range entries {
		s := lab.State{Name: e.Name(), Dir: filepath.Join(state, "orrery", e.Name())}
		if t.Failed() {
			log, _ := os.ReadFile(s.LogFile())
			t.Logf("log of lab %s:\n%s", s.Name, log)
		}
		if was, err := s.Stop(); was && !t.Failed() {
			t.Errorf("the story left lab %s running (%v)", s.Name, err)
		}
	}
	_ = os.RemoveAll(state)
}

// eventually repeats a command until it succeeds:
//
//	eventually 'pattern of stdout' program args…
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN PROGRAM [ARGS...]")
	}
	deadline := time.Now().Add(60 * time.Second) // for a machine that is very busy
	for {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if matches(ts, args[0], out) && (err == nil || args[0] == "") {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v never printed %q; the last time: %v\n%s%s", args[1:], args[0], err, out, ts.ReadFile("stderr"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// distinct repeats a command until it has printed so many different texts, and never
// more than those:
//
//	distinct 3 program args…
func distinct(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: distinct N PROGRAM [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	seen := map[string]int{}
	for range 60 * want { // (2/3)^180 for the unluckiest of three
		ts.Check(ts.Exec(args[1], args[2:]...))
		seen[ts.ReadFile("stdout")]++
		if len(seen) == want {
			return
		}
	}
	ts.Fatalf("%v printed %d different texts, not %d: %v", args[1:], len(seen), want, seen)
}

// killlab ends a lab's process as a crash would: killlab NAME
func killLab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killlab NAME")
	}
	s := lab.State{Name: args[0], Dir: filepath.Join(ts.Getenv("XDG_STATE_HOME"), "orrery", args[0])}
	pid, running := s.Running()
	if !running || pid == 0 {
		ts.Fatalf("lab %s is not running", args[0])
	}
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, running := s.Running(); !running {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("lab %s survived SIGKILL", args[0])
		}
	}
}

func matches(ts *testscript.TestScript, pattern, text string) bool {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	return re.MatchString(text)
}
