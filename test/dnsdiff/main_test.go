// Package dnsdiff asks CoreDNS and package dns the same questions. Both read the same
// API server; every difference between their replies is either a defect or in the list of
// differences_test.go, with its reason. It also lets dnsperf measure both side by side.
//
// It is a module of its own, so that CoreDNS and what it needs stay out of the
// project's: run it by
//
//	cd test/dnsdiff && go test ./...
//	cd test/dnsdiff && go test -run '^$' -bench . -benchtime 1x
package dnsdiff

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// role says which part a process of the test plays: none yet, the tests, or one of the
// servers that the benchmark measures.
const role = "DNSDIFF_ROLE"

// ownAddress is an address of this machine, as far as the test's network namespace is
// concerned: that of the Pod the DNS server runs in. CoreDNS looks for the Service that
// has it as an endpoint, and passes over loopback addresses.
const ownAddress = "172.30.0.10"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(reexec())
	case "tests":
		if err := setUpNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, "set up the network namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	default:
		os.Exit(serveRole(os.Getenv(role)))
	}
}

// reexec runs the tests in a network namespace of their own. CoreDNS listens on every
// address; nobody else should hear it.
func reexec() int {
	runtime.LockOSThread() // Pdeathsig is about the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), role+"=tests")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "no network namespace for the test:", err)
		if os.Getenv("CI") != "" {
			return 1
		}
		fmt.Fprintln(os.Stderr, "SKIP: it needs root or user namespaces")
		return 0
	}
	if err := cmd.Wait(); err != nil {
		return 1
	}
	return 0
}

// setUpNamespace brings the loopback device up, with an address that is not loopback's.
func setUpNamespace() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(ownAddress + "/32")
	if err != nil {
		return err
	}
	return netlink.AddrAdd(lo, addr)
}
