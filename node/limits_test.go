package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/node/cgroup"
)

// needCgroups skips a test where the machine has none for us. scripts/test-ipvs runs it in
// a virtual machine that has.
func needCgroups(t *testing.T) *cgroup.Tree {
	t.Helper()
	tree, err := cgroup.Find()
	switch {
	case err == nil:
	case os.Getenv("ORRERY_CGROUPS") == "required":
		t.Fatalf("cgroups are needed: %v", err)
	default:
		t.Skipf("cgroups are needed (scripts/test-ipvs has a machine with them): %v", err)
	}
	return tree
}

func limited(cpu, memory string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Resources.Limits = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		}
		s.Containers[0].Resources.Requests = s.Containers[0].Resources.Limits
	}
}

func TestLimits(t *testing.T) {
	needNamespaces(t)
	tree := needCgroups(t)
	left := leaveBehind(t, tree)
	c := startClusterWith(t, func(cfg *Config) {
		cfg.PodMaxPIDs = 50
		must(t, os.MkdirAll(filepath.Join(cfg.StateDir, "pods", "uid-old"), 0o755))
	}, "node1")
	if err := left.Wait(); err == nil || left.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("a process of an earlier run: %v", err)
	}
	c.tellsOfLimits("enforced by cgroups in " + tree.Dir())
	c.pod("node1", "greedy", "busybox", limited("1", "32Mi"), command("sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1"))
	c.pod("node1", "busy", "busybox", limited("100m", "64Mi"), command("sh", "-c", "while :; do :; done"))
	c.pod("node1", "free", "busybox", command("sleep", "1000"))
	p := c.await("greedy", "killed and begun again", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].RestartCount > 0 && s[0].LastTerminationState.Terminated != nil
	})
	if end := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; end.Reason != "OOMKilled" || end.ExitCode != 137 {
		t.Errorf("it ended as %s with %d", end.Reason, end.ExitCode)
	}
	c.ready("busy")
	c.ready("free")
	for name, want := range map[string]string{
		"poduid-busy/main/cpu.max": "10000 100000", "poduid-busy/main/memory.max": "67108864", "poduid-busy/main/memory.oom.group": "1",
		"poduid-busy/cpu.max": "10000 100000", "poduid-busy/pids.max": "50", "besteffort/poduid-free/cpu.weight": "1",
		"besteffort/poduid-free/main/memory.max": "max", "besteffort/poduid-free/cpu.max": "max 100000",
	} {
		if got := line(filepath.Join(tree.Dir(), name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := c.mustExec("node1", "free", "cat", "/proc/self/cgroup"); !strings.HasSuffix(got, "/kubepods/besteffort/poduid-free/main\n") {
		t.Errorf("a program that is run in a container is in %q", got)
	}
	c.eventually("throttled", func() error {
		stat := readOrEmpty(filepath.Join(tree.Dir(), "poduid-busy/main/cpu.stat"))
		if !strings.Contains(stat, "nr_throttled ") || strings.Contains(stat, "nr_throttled 0\n") {
			return fmt.Errorf("%s", stat)
		}
		return nil
	})
	for _, name := range []string{"greedy", "busy", "free"} {
		c.delete(name, 0)
		c.awaitGone(name)
	}
	c.nodes["node1"].stop()
	if _, err := os.Stat(tree.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cgroups are left over: %v", err)
	}
}

// tellsOfLimits looks at what the Node says.
func (c *cluster) tellsOfLimits(want string) {
	c.t.Helper()
	node, err := c.api.CoreV1().Nodes().Get(c.ctx, "node1", metav1.GetOptions{})
	must(c.t, err)
	if got := node.Annotations[limitsAnnotation]; !strings.HasPrefix(got, want) {
		c.t.Errorf("the Node says %q", got)
	}
}

func TestStoryWithoutLimits(t *testing.T) {
	if tree, err := cgroup.Find(); err == nil {
		tree.Close()
		t.Skip("this machine has cgroups for us: TestLimits looks at them")
	}
	startCluster(t, "node1").tellsOfLimits("not enforced: ")
}

// leaveBehind makes the cgroup of a Pod that no agent has any more, with a process in it.
func leaveBehind(t *testing.T, tree *cgroup.Tree) *exec.Cmd {
	t.Helper()
	old := &corev1.Pod{}
	old.UID = types.UID("uid-old")
	dir, err := tree.Pod(old, cgroup.ForPod(old, -1))
	must(t, err)
	group, err := cgroup.NewGroup(dir, "main", nil)
	must(t, err)
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.File().Fd())}
	must(t, cmd.Start())
	return cmd
}
