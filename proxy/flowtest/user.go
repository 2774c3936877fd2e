package flowtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asUser marks a test process that runs in a user namespace of its own.
const asUser = "ORRERY_TEST_AS_USER"

// nobody is the user that AsUser maps to root of the user namespace.
const nobody = 65534

// Main prepares a test binary for AsUser. Without root it moves the whole binary into a
// user namespace, as the lab does, so that nothing has to be skipped.
func Main(m *testing.M) {
	switch {
	case os.Getenv(asUser) != "":
		if err := ownRun(); err != nil {
			fmt.Fprintln(os.Stderr, "flowtest:", err)
			os.Exit(1)
		}
	case os.Geteuid() != 0:
		cmd := inUserNamespace(os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err := cmd.Run()
		if cmd.ProcessState != nil {
			os.Exit(cmd.ProcessState.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "flowtest: no user namespace, tests with a kernel will be skipped:", err)
	}
	os.Exit(m.Run())
}

// AsUser runs tests of this binary once more as an ordinary user in a user namespace,
// where transactions are bounded and some of the kernel is out of reach.
func AsUser(t *testing.T, run string) {
	t.Helper()
	if os.Getenv(asUser) != "" {
		t.Skip("this is the user namespace already")
	}
	cmd := inUserNamespace("-test.run=" + run)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no user namespace: %v", err)
		}
		t.Skipf("no user namespace: %v", err)
	}
	if err != nil {
		t.Errorf("as user: %v\n%s", err, out)
	}
}

func inUserNamespace(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asUser+"=1")
	uid, gid := nobody, nobody
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		uid, gid = os.Geteuid(), os.Getegid()
	} else {
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true}
	}
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	return cmd
}

// ownRun gives the process a /run of its own: iptables-legacy locks a file there.
func ownRun() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return nil
}
