package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestEvacuate plants in a cgroup that has processes, as an agent's own does where it was
// delegated to its user. scripts/test-ipvs has a machine for it.
func TestEvacuate(t *testing.T) {
	top, err := Find()
	if err != nil {
		if os.Getenv("ORRERY_CGROUPS") == "required" {
			t.Fatal(err)
		}
		t.Skipf("cgroups are needed (scripts/test-ipvs has a machine with them): %v", err)
	}
	defer top.Close()
	own := filepath.Join(filepath.Dir(top.Dir()), "orrery-test")
	group, err := NewGroup(filepath.Dir(own), "orrery-test", nil)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.File().Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tree, err := plant(own)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time all is there
		if tree, err = plant(own); err != nil {
			t.Fatal(err)
		}
	}
	pod := &corev1.Pod{}
	pod.UID = "uid"
	tree.Close() // as another agent would
	dir, err := tree.Pod(pod, ForPod(pod, 3))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{dir + "/pids.max": "3", own + "/kubepods/besteffort/cpu.weight": "1"} {
		if got, err := os.ReadFile(name); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := tree.RemovePod("uid"); err != nil {
		t.Error(err)
	}
	if err := remove(filepath.Join(own, "orrery-agent")); err != nil { // kills the process that was moved there
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process was not moved: %v", err)
	}
	tree.Close()
	if err := group.Remove(); err != nil {
		t.Error(err)
	}
}
