package node

import (
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	"orrery.example.org/pki"
)

// debug adds an ephemeral container, as the API server lets it in.
func (c *cluster) debug(pod string, e corev1.EphemeralContainer) {
	c.t.Helper()
	c.eventually("debug "+pod, func() error {
		object, err := c.get(pod)
		if err != nil {
			return err
		}
		object.Spec.EphemeralContainers = append(object.Spec.EphemeralContainers, e)
		_, err = c.api.CoreV1().Pods("default").Update(c.ctx, object, metav1.UpdateOptions{})
		return err
	})
}

// ephemeral finds the status of an ephemeral container.
func ephemeral(p *corev1.Pod, name string) corev1.ContainerStatus {
	for _, s := range p.Status.EphemeralContainerStatuses {
		if s.Name == name {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

func TestStoryEphemeralContainers(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "program", "busybox", command("sleep", "1001"))
	c.pod("node1", "web", "nginx")
	c.ready("program")
	c.ready("web")
	look := func(name, target string, argv ...string) corev1.EphemeralContainer {
		return corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "busybox", Command: argv},
			TargetContainerName:      target,
		}
	}
	ended := func(pod, name string) *corev1.ContainerStateTerminated {
		p := c.await(pod, name+" has ended", func(p *corev1.Pod) bool { return ephemeral(p, name).State.Terminated != nil })
		if p.Status.Phase != corev1.PodRunning || condition(p, corev1.PodReady) != corev1.ConditionTrue {
			t.Errorf("%s is %s after %s", pod, p.Status.Phase, name)
		}
		return ephemeral(p, name).State.Terminated
	}
	logOf := func(pod, name string) string {
		log, err := c.nodes["node1"].agent.OpenLog("default/"+pod, "", name, false)
		must(t, err)
		var out buffer
		must(t, log.Read(c.ctx, &corev1.PodLogOptions{}, now(), &out))
		return out.String()
	}

	c.debug("program", look("seeing", "main", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; hostname; ls -A /tmp; exit 3"))
	if end := ended("program", "seeing"); end.ExitCode != 3 {
		t.Errorf("it ended with %d", end.ExitCode)
	}
	if got := logOf("program", "seeing"); got != "sleep 1001 program\n" {
		t.Errorf("an ephemeral container that has a target wrote %q", got)
	}
	c.debug("program", look("apart", "", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"))
	ended("program", "apart")
	if got := logOf("program", "apart"); !strings.HasPrefix(got, "sh -c") {
		t.Errorf("one that has none wrote %q", got)
	}
	c.debug("web", look("network", "main", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; curl -sS http://127.0.0.1 | grep -c nginx"))
	ended("web", "network")
	if got := logOf("web", "network"); !strings.HasSuffix(got, "sleep infinity 2\n") { // which env becomes
		t.Errorf("one beside a built-in program wrote %q", got)
	}
	c.debug("web", look("lost", "nobody", "true"))
	c.await("web", "lost waits", func(p *corev1.Pod) bool {
		w := ephemeral(p, "lost").State.Waiting
		return w != nil && w.Reason == "CreateContainerConfigError" && w.Message == "unable to find target container nobody"
	})
	c.debug("web", look("stays", "", "sleep", "1003"))
	c.await("web", "stays runs", func(p *corev1.Pod) bool { return ephemeral(p, "stays").State.Running != nil })
	c.delete("web", 1)
	c.awaitGone("web")
	c.eventually("no process", func() error { return noProcess("sleep 1003") })
}

// TestStoryDebugShell does what ctl debug -it does: it types into a shell that nobody asked for by name.
func TestStoryDebugShell(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "program", "busybox", command("sleep", "1001"))
	c.ready("program")
	c.debug("program", corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "shell", Image: "busybox", Stdin: true, StdinOnce: true, TTY: true},
		TargetContainerName:      "main",
	})
	c.await("program", "has a shell", func(p *corev1.Pod) bool { return ephemeral(p, "shell").State.Running != nil })
	config := c.remote("node1", pki.APIServerClient)
	u := nodeURL(config, "/attach/default/program/shell", url.Values{"input": {"1"}, "output": {"1"}, "tty": {"1"}})
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", u.String())
	must(t, err)
	var out strings.Builder
	err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{
		Stdin: strings.NewReader("tr '\\0' ' ' < /proc/1/cmdline; exit\n"), Stdout: &out, Tty: true,
	})
	if err != nil || !strings.Contains(out.String(), "sleep 1001") {
		t.Errorf("error %v, output %q", err, out.String())
	}
	c.await("program", "the shell has ended", func(p *corev1.Pod) bool { return ephemeral(p, "shell").State.Terminated != nil })
}
