// Package labtest checks that lab/labtest serves tests in somebody else's module, as
// root and as an ordinary user.
package labtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const nobody = 65534

func TestFromAnotherModule(t *testing.T) {
	// Not t.TempDir: nobody may not enter root's.
	dir, err := os.MkdirTemp("/tmp", "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary := filepath.Join(dir, "elsewhere.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Dir = "elsewhere"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the other module's tests: %v\n%s", err, out)
	}
	users := map[string]*syscall.Credential{"this user": nil}
	if os.Geteuid() == 0 {
		users["nobody"] = &syscall.Credential{Uid: nobody, Gid: nobody}
		if out, err := exec.Command("chown", "-R", strconv.Itoa(nobody), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for name, credential := range users {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(binary, "-test.v")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(out), "\n--- PASS") != 4 {
				t.Fatal("not all of its tests ran")
			}
		})
	}
}
