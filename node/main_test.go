package node

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"orrery.example.org/node/shim"
)

// The tests need namespaces. An ordinary user gets them in a user namespace, into
// which the test binary starts itself again, as ctl up does.
const insideVariable = "ORRERY_TEST_INSIDE"

// unprivileged is why namespaces cannot be had, or nil.
var unprivileged error

func TestMain(m *testing.M) {
	shim.RunIfShim()
	if os.Getuid() != 0 && os.Getenv(insideVariable) == "" {
		if err := enterUserNamespace(); err != nil {
			unprivileged = err // the pure tests run all the same
		}
	}
	os.Exit(m.Run())
}

// enterUserNamespace runs this program again as root of new namespaces, and exits
// with its code.
func enterUserNamespace() error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("new user namespace: %w", err)
	}
	_ = cmd.Wait()
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}

// needNamespaces skips a test that cannot run here, but never in CI.
func needNamespaces(t testing.TB) {
	t.Helper()
	if unprivileged == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("namespaces are needed: %v", unprivileged)
	}
	t.Skipf("namespaces are needed: %v", unprivileged)
}

// TestAsOrdinaryUser runs the package's stories once more, as nobody.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getenv(insideVariable) != "" || os.Getuid() != 0 {
		t.Skip("this is an ordinary user already")
	}
	if testing.Short() {
		t.Skip("the stories again, in long runs only")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "orrery-node-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "node.test")
	copyFile(t, "/proc/self/exe", program)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestStory", "-test.v", "-test.timeout=3m")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
