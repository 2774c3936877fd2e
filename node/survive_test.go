package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/node/shim"
)

// startWithShim starts a node whose containers outlive its agent, and ends them at last.
func startWithShim(t *testing.T) (*cluster, *machine) {
	c := startClusterWith(t, func(cfg *Config) { cfg.ContainerParent = parentShim }, "node1")
	m := c.nodes["node1"]
	t.Cleanup(func() {
		m.stop()
		must(t, shim.End(context.Background(), m.stateDir))
	})
	return c, m
}

// counting writes a line with its process's number every 20 ms.
var counting = command("sh", "-c", `trap 'echo bye; exit 0' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done`)

func (c *cluster) logOf(pod string) string {
	c.t.Helper()
	log, err := c.nodes["node1"].agent.OpenLog("default/"+pod, "", "main", false)
	must(c.t, err)
	var out buffer
	must(c.t, log.Read(c.ctx, &corev1.PodLogOptions{}, now(), &out))
	return out.String()
}

func (c *cluster) awaitLine(pod string, atLeast int) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("line %d of %s", atLeast, pod), func() error {
		if text := c.logOf(pod); !strings.Contains(text, fmt.Sprintf("line %d\n", atLeast)) {
			return fmt.Errorf("the log has %d bytes", len(text))
		}
		return nil
	})
}

// complete says whether the log has lines 1, 2, 3 and so on, and how many.
func complete(text string) (int, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if line != "line "+strconv.Itoa(i+1) {
			return i, fmt.Errorf("line %d is %q", i+1, line)
		}
	}
	return len(lines), nil
}

func only(p *corev1.Pod) corev1.ContainerStatus {
	if len(p.Status.ContainerStatuses) != 1 {
		return corev1.ContainerStatus{}
	}
	return p.Status.ContainerStatuses[0]
}

func (m *machine) record(t *testing.T, pod string) shim.Record {
	t.Helper()
	all, damaged := shim.Records(filepath.Join(m.stateDir, "pods", "uid-"+pod))
	if len(damaged) > 0 {
		t.Fatal(damaged)
	}
	return all["main"]
}

func TestStoryContainersOutliveTheirAgent(t *testing.T) {
	c, m := startWithShim(t)
	c.pod("node1", "counter", "busybox", counting, func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{{Name: "first", Image: "busybox", Command: []string{"true"}}}
		s.Containers[0].ReadinessProbe = &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-e", "/dev/shm"}}}, PeriodSeconds: 1, TimeoutSeconds: 20,
		}
	})
	c.pod("node1", "web", "nginx")
	before, web := c.ready("counter"), c.ready("web")
	c.awaitLine("counter", 5)
	pid := m.record(t, "counter").PID
	m.stop()
	if err := unix.Kill(pid, 0); err != nil {
		t.Fatalf("the program ended with the agent: %v", err)
	}
	size := func() int64 {
		info, err := os.Stat(m.record(t, "counter").Log)
		must(t, err)
		return info.Size()
	}
	then := size()
	c.eventually("it writes on", func() error {
		if size() < then+200 {
			return fmt.Errorf("the log has %d bytes", size())
		}
		return nil
	})
	c.startAgent(m)
	web = c.await("web", "restarted", func(p *corev1.Pod) bool {
		return only(p).Ready && only(p).RestartCount == 1 && p.Status.PodIP == web.Status.PodIP
	})
	if n := events(t, c.api, "counter"); strings.Count(strings.Join(n, " "), "Started") > 2 {
		t.Errorf("events %v: one container started twice", n)
	}
	c.eventually("exec", func() error {
		out, err := c.execIn("node1", "counter", "sh", "-c", "kill -0 1 && ls /proc | grep -c '^1$'")
		if err == nil && out != "1\n" {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
	after, err := c.get("counter")
	must(t, err)
	was, is := only(before), only(after)
	if was.ContainerID != is.ContainerID || is.RestartCount != 0 || !is.Ready || !was.State.Running.StartedAt.Equal(&is.State.Running.StartedAt) {
		t.Errorf("container was %+v, is %+v", was, is)
	}
	if after.Status.PodIP != before.Status.PodIP || after.Status.InitContainerStatuses[0].RestartCount != 0 {
		t.Errorf("Pod was %+v, is %+v", before.Status, after.Status)
	}
	if now := m.record(t, "counter").PID; now != pid {
		t.Errorf("process %d became %d", pid, now)
	}
	n, err := complete(c.logOf("counter"))
	if err != nil {
		t.Error(err)
	}
	c.awaitLine("counter", n+10)
	c.mustExec("node1", "web", "curl", "-sS", "--max-time", "5", "http://"+web.Status.PodIP)
	c.delete("counter", 30)
	c.awaitGone("counter")
	c.delete("web", 0)
	c.awaitGone("web")
	if err := unix.Kill(pid, 0); err == nil {
		t.Error("the program runs, and its Pod has gone")
	}
	if got := m.veths(t); len(got) != 0 {
		t.Errorf("links %v", got)
	}
	m.stop()
	if _, err := os.Stat(filepath.Join(m.stateDir, "shim.sock")); err == nil {
		t.Error("the shim is there, and has nothing")
	}
}

func TestStoryWhatHappensWithoutAnAgent(t *testing.T) {
	c, m := startWithShim(t)
	until := func(file string, code int) func(*corev1.PodSpec) {
		return func(s *corev1.PodSpec) {
			command("sh", "-c", fmt.Sprintf("echo begun; until [ -e /d/%s ]; do sleep 0.02; done; rm /d/%s; exit %d", file, file, code))(s)
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
			s.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: m.stateDir}}}}
		}
	}
	c.pod("node1", "fails", "busybox", until("fail", 3))
	c.pod("node1", "once", "busybox", until("succeed", 0), func(s *corev1.PodSpec) { s.RestartPolicy = corev1.RestartPolicyNever })
	c.pod("node1", "deleted", "busybox", command("sleep", "1011"))
	c.pod("node1", "marked", "busybox", counting)
	c.pod("node1", "damaged", "busybox", command("sleep", "1012"))
	before := c.ready("fails")
	for _, name := range []string{"once", "deleted", "marked", "damaged"} {
		c.ready(name)
	}
	marked := m.record(t, "marked")
	damaged, err := c.get("damaged")
	must(t, err)
	m.stop()
	must(t, writeFile(filepath.Join(m.stateDir, "fail"), ""))
	must(t, writeFile(filepath.Join(m.stateDir, "succeed"), ""))
	must(t, c.api.CoreV1().Pods("default").Delete(c.ctx, "deleted", metav1.DeleteOptions{}))
	must(t, writeFile(filepath.Join(m.stateDir, "pods", "uid-damaged", "runs", "main"), `{"Version":1,"CRC":1,"Rec`))
	c.delete("marked", 30)
	c.eventually("ended", func() error {
		if m.record(t, "fails").Exit == nil || m.record(t, "once").Exit == nil {
			return fmt.Errorf("no exit is noted")
		}
		return nil
	})
	c.startAgent(m)
	c.await("fails", "restarted", func(p *corev1.Pod) bool {
		last := only(p).LastTerminationState.Terminated
		return only(p).RestartCount == 1 && only(p).Ready && last != nil && last.ExitCode == 3 && last.Reason == "Error" &&
			last.ContainerID == only(before).ContainerID && p.Status.PodIP == before.Status.PodIP
	})
	c.await("once", "succeeded", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded && only(p).State.Terminated.ExitCode == 0
	})
	c.await("damaged", "restarted", func(p *corev1.Pod) bool {
		return only(p).RestartCount == 1 && only(p).Ready && p.Status.PodIP == damaged.Status.PodIP
	})
	if got := events(t, c.api, "damaged"); !strings.Contains(strings.Join(got, " "), "ContainerStatusUnknown") {
		t.Errorf("events %v", got)
	}
	c.awaitGone("marked")
	if err := unix.Kill(marked.PID, 0); err == nil {
		t.Error("a program of a Pod that was to end runs")
	}
	c.eventually("no process of a Pod that has gone", func() error { return noProcess("sleep 1011") })
	if got := m.veths(t); len(got) != 2 {
		t.Errorf("links %v, want those of two Pods", got)
	}
	for _, name := range []string{"fails", "damaged"} {
		c.delete(name, 0)
		c.awaitGone(name)
	}
}

func cmdline(pid int) string {
	return strings.ReplaceAll(readOrEmpty(fmt.Sprintf("/proc/%d/cmdline", pid)), "\x00", " ")
}

func TestStoryTheShimIsKilled(t *testing.T) {
	c, m := startWithShim(t)
	kill := func() {
		pid, err := strconv.Atoi(m.agent.shim.PID())
		must(t, err)
		must(t, unix.Kill(pid, unix.SIGKILL))
	}
	c.pod("node1", "sleeper", "busybox", command("sleep", "1013"))
	before := c.ready("sleeper")
	kill()
	again := func(count int32) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			last := only(p).LastTerminationState.Terminated
			return only(p).Ready && only(p).RestartCount == count && last != nil && last.ExitCode == 137
		}
	}
	after := c.await("sleeper", "restarted", again(1))
	if before.Status.PodIP != after.Status.PodIP {
		t.Errorf("address %s became %s", before.Status.PodIP, after.Status.PodIP)
	}
	// As a reboot is: nobody knows the sandbox any more, and the state directory is there.
	pid := m.record(t, "sleeper").PID
	c.pod("node1", "ends", "busybox", command("sh", "-c", "until [ -e /tmp/end ]; do sleep 0.02; done; exit 4"), func(s *corev1.PodSpec) { s.RestartPolicy = corev1.RestartPolicyNever })
	c.ready("ends")
	c.mustExec("node1", "ends", "sh", "-c", "(sleep 1; touch /tmp/end) >/dev/null 2>&1 &")
	m.stop()
	c.eventually("its end", func() error {
		if m.record(t, "ends").Exit == nil {
			return fmt.Errorf("no exit is noted")
		}
		return nil
	})
	kill()
	c.startAgent(m) // which ends what nobody waits for
	c.eventually("the end of the old process", func() error {
		if unix.Kill(pid, 0) == nil && slices.Contains(strings.Fields(cmdline(pid)), "1013") {
			return fmt.Errorf("process %d runs", pid)
		}
		return nil
	})
	if after = c.await("sleeper", "restarted", again(2)); before.Status.PodIP != after.Status.PodIP {
		t.Errorf("address %s became %s", before.Status.PodIP, after.Status.PodIP)
	}
	c.await("ends", "failed", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodFailed && only(p).State.Terminated.ExitCode == 4
	})
	c.delete("sleeper", 0)
	c.awaitGone("sleeper")
	c.eventually("no process", func() error { return noProcess("sleep 1013") })
}

// TestStoryStreamsAfterARestart looks at what an agent keeps for its containers: terminals,
// standard input, and the network namespace, which a built-in program shares with another.
func TestStoryStreamsAfterARestart(t *testing.T) {
	c, m := startWithShim(t)
	c.pod("node1", "typist", "busybox", command("sh", "-c", "while read -r x; do echo got $x; done"), func(s *corev1.PodSpec) {
		s.Containers[0].TTY, s.Containers[0].Stdin = true, true
	})
	c.pod("node1", "mixed", "busybox", counting, func(s *corev1.PodSpec) {
		s.Containers = append(s.Containers, corev1.Container{Name: "web", Image: "nginx"})
	})
	c.ready("typist")
	before := c.ready("mixed")
	typed := func(text string) {
		t.Helper()
		in, hand := io.Pipe()
		ctx, leave := context.WithCancel(c.ctx)
		attached := make(chan error, 1)
		go func() {
			attached <- m.agent.AttachContainer(ctx, "default/typist", "", "main", in, nil, nil, true, nil)
		}()
		_, err := io.WriteString(hand, text+"\n")
		must(t, err)
		c.eventually("an answer", func() error {
			if log := c.logOf("typist"); !strings.Contains(log, "got "+text) {
				return fmt.Errorf("the log says %q", log)
			}
			return nil
		})
		leave()
		_ = hand.Close()
		must(t, <-attached)
	}
	typed("one")
	m.stop()
	c.startAgent(m)
	after := c.await("mixed", "taken over", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 2 && s[0].Ready && s[0].RestartCount == 0 && s[1].Ready && s[1].RestartCount == 1
	})
	if before.Status.PodIP != after.Status.PodIP {
		t.Errorf("address %s became %s", before.Status.PodIP, after.Status.PodIP)
	}
	typed("two")
	if page := c.mustExec("node1", "mixed", "curl", "-sS", "--max-time", "5", "http://127.0.0.1"); !strings.Contains(page, "Pod mixed") {
		t.Errorf("the neighbour says %q", page)
	}
	near, far := net.Pipe()
	forwarded := make(chan error, 1)
	go func() { forwarded <- m.agent.PortForward(c.ctx, "default/mixed", "", 80, far) }()
	_, err := io.WriteString(near, "GET / HTTP/1.0\r\n\r\n")
	must(t, err)
	if page, err := io.ReadAll(near); err != nil || !strings.Contains(string(page), "Pod mixed") {
		t.Errorf("through a forwarded port: %q (%v)", page, err)
	}
	must(t, <-forwarded)
	c.delete("typist", 0)
	c.delete("mixed", 0)
	c.awaitGone("typist")
	c.awaitGone("mixed")
}

// BenchmarkTakeOver measures from an agent's start until it has all the Pods that go on.
func BenchmarkTakeOver(b *testing.B) {
	const pods = 50
	c := startClusterWith(b, func(cfg *Config) { cfg.ContainerParent = parentShim }, "node1")
	m := c.nodes["node1"]
	b.Cleanup(func() { m.stop(); must(b, shim.End(context.Background(), m.stateDir)) })
	for i := range pods {
		c.pod("node1", fmt.Sprintf("pod-%d", i), "busybox", command("sh", "-c", "trap exit TERM; while :; do sleep 1; done"))
	}
	for i := range pods {
		c.ready(fmt.Sprintf("pod-%d", i))
	}
	for b.Loop() {
		b.StopTimer()
		m.stop()
		b.StartTimer()
		c.startAgent(m)
		c.eventually("all are here", func() error {
			m.agent.mu.Lock()
			defer m.agent.mu.Unlock()
			for i := range pods {
				p := m.agent.pods[types.UID(fmt.Sprintf("uid-pod-%d", i))]
				if p == nil || p.main[0].presentRun() == nil {
					return fmt.Errorf("pod-%d is not", i)
				}
			}
			return nil
		})
	}
	status, err := os.ReadFile("/proc/" + m.agent.shim.PID() + "/status")
	must(b, err)
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" || f[0] == "RssAnon:" {
			kb, _ := strconv.Atoi(f[1])
			b.ReportMetric(float64(kb)/1024, "MB-shim-"+strings.TrimSuffix(f[0], ":"))
		}
	}
}
