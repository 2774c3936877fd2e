package node

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// beside adds a second container, which a Pod's exec does not go to.
func beside(argv ...string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers = append(s.Containers, corev1.Container{Name: "beside", Image: "busybox", Command: argv})
	}
}

// sees waits until a script in the Pod's container main writes this.
func (c *cluster) sees(pod, script, want string) {
	c.t.Helper()
	c.eventually(pod+" sees", func() error {
		got, err := c.execIn("node1", pod, "sh", "-c", script)
		if err == nil && got != want {
			err = fmt.Errorf("%s: %q, want %q", script, got, want)
		}
		return err
	})
}

func TestStoryIsolation(t *testing.T) {
	c := startCluster(t, "node1")
	names := "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep || true"
	first := "tr '\\0' ' ' < /proc/1/cmdline"
	c.pod("node1", "alone", "busybox", command("sleep", "1001"), beside("sleep", "1002"))
	c.pod("node1", "shared", "busybox", command("sleep", "1001"), beside("sleep", "1002"),
		func(s *corev1.PodSpec) { s.ShareProcessNamespace = ptr.To(true) })
	c.pod("node1", "node", "busybox", command("sleep", "1001"), func(s *corev1.PodSpec) { s.HostPID, s.HostIPC = true, true })
	c.pod("node1", "web", "nginx")
	for _, name := range []string{"alone", "shared", "node", "web"} {
		c.ready(name)
	}
	c.sees("alone", first, "sleep 1001 ")
	c.sees("alone", names, "1\n")
	c.sees("shared", first, "sleep infinity ")
	c.sees("shared", names, "3\n")
	c.sees("web", first, "sleep infinity ") // stands for the program, which is in the agent
	c.sees("web", names, "1\n")
	if got := c.mustExec("node1", "node", "readlink", "/proc/self/ns/pid", "/proc/self/ns/ipc"); got != links(t, "pid", "ipc") {
		t.Errorf("hostPID and hostIPC: %q", got)
	}
	if got := c.mustExec("node1", "alone", "readlink", "/proc/self/ns/ipc"); got == links(t, "ipc") {
		t.Error("the Pod has the node's IPC namespace")
	}
	if got := c.mustExec("node1", "alone", "sh", "-c", "cat /etc/hostname; hostname"); got != "alone\nalone\n" {
		t.Errorf("host names %q", got)
	}
	// Nothing of what is written to /tmp, as ctl cp does, is on the node, or outlives the container.
	for _, name := range []string{"alone", "web"} {
		if got := c.mustExec("node1", name, "sh", "-c", "ls -A /tmp; echo > /tmp/orrery-private; ls -A /tmp"); got != "orrery-private\n" {
			t.Errorf("/tmp of %s: %q", name, got)
		}
	}
	if _, err := os.Stat("/tmp/orrery-private"); err == nil {
		t.Error("a Pod wrote to the node's /tmp")
	}
	if _, err := c.execIn("node1", "alone", "kill", "-9", "1"); err != nil {
		t.Error(err)
	}
	c.sees("alone", first, "sleep 1001 ") // process 1 is safe from its own namespace
	c.sees("alone", "ls -A /tmp", "orrery-private\n")
}

// TestStoryFilesOfStrangers does what ctl cp does with a file of a user whom the node does
// not know.
func TestStoryFilesOfStrangers(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "web", "nginx")
	c.ready("web")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	must(t, w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: 3, Uid: 54321, Gid: 54321}))
	_, err := w.Write([]byte("hi\n"))
	must(t, err)
	must(t, w.Close())
	var out buffer
	err = c.nodes["node1"].agent.ExecInContainer(c.ctx, "default/web", "", "main", []string{"tar", "-xmf", "-", "-C", "/tmp"}, &archive, &out, &out, false, nil, 0)
	if err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if got := c.mustExec("node1", "web", "cat", "/tmp/hello"); got != "hi\n" {
		t.Errorf("the file has %q", got)
	}
}

// links names this program's namespaces.
func links(t *testing.T, kinds ...string) string {
	t.Helper()
	var b strings.Builder
	for _, kind := range kinds {
		name, err := os.Readlink("/proc/self/ns/" + kind)
		must(t, err)
		fmt.Fprintln(&b, name)
	}
	return b.String()
}
