package node

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// diary is a file of the node into which containers of a test write what happens.
type diary struct {
	t    *testing.T
	file string
}

// newDiary also mounts its directory on /diary in a Pod's containers.
func newDiary(t *testing.T) (diary, func(*corev1.PodSpec)) {
	dir := t.TempDir()
	return diary{t, filepath.Join(dir, "diary")}, func(s *corev1.PodSpec) {
		s.Volumes = append(s.Volumes, corev1.Volume{Name: "diary", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}})
		for _, all := range [][]corev1.Container{s.InitContainers, s.Containers} {
			for i := range all {
				all[i].VolumeMounts = append(all[i].VolumeMounts, corev1.VolumeMount{Name: "diary", MountPath: "/diary"})
			}
		}
	}
}

func (d diary) read() []string {
	data, err := os.ReadFile(d.file)
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func write(word string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo " + word + " >> /diary/diary"}}}
}

// untilTerm is a program that says when it starts and when it is told to stop.
func untilTerm(word string) []string {
	return []string{"sh", "-c", fmt.Sprintf("trap 'echo %s-term >> /diary/diary; exit 0' TERM; echo %s >> /diary/diary; while :; do sleep 0.01; done", word, word)}
}

func TestStoryHooks(t *testing.T) {
	c := startCluster(t, "node1")
	book, withDiary := newDiary(t)
	c.pod("node1", "hooked", "busybox", command(untilTerm("up")...), func(s *corev1.PodSpec) {
		after := write("after")
		after.Exec.Command[2] = "until grep -q up /diary/diary; do sleep 0.01; done; " + after.Exec.Command[2]
		s.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: after, PreStop: write("before")}
	}, withDiary)
	c.ready("hooked")
	if got := book.read(); !slices.Equal(got, []string{"up", "after"}) {
		t.Errorf("when ready: %v", got)
	}
	c.delete("hooked", 30)
	c.awaitGone("hooked")
	if got := book.read(); !slices.Equal(got, []string{"up", "after", "before", "up-term"}) {
		t.Errorf("at the end: %v", got)
	}
}

func TestStoryHooksByHTTPAndSleep(t *testing.T) {
	c := startCluster(t, "node1")
	var asked atomic.Int32
	ln, err := c.nodes["node1"].host.Listen(c.ctx, "tcp", "172.30.0.11:8080")
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bye" {
			asked.Add(1)
		}
		w.WriteHeader(http.StatusTeapot) // which does not matter
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	c.pod("node1", "web", "nginx", func(s *corev1.PodSpec) {
		s.Containers[0].Lifecycle = &corev1.Lifecycle{
			PostStart: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}},
			PreStop:   &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: "172.30.0.11", Path: "/bye", Port: intstr.FromInt32(8080)}},
		}
	})
	pod := c.ready("web")
	running, ready := pod.Status.ContainerStatuses[0].State.Running.StartedAt, time.Now()
	if took := ready.Sub(running.Time); took < time.Second {
		t.Errorf("ready %s after the start, before postStart had ended", took)
	}
	c.delete("web", 30)
	c.awaitGone("web")
	if n := asked.Load(); n != 1 {
		t.Errorf("preStop asked %d times", n)
	}
}

func TestStoryAFailingPostStart(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "fails", "busybox", func(s *corev1.PodSpec) {
		s.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}}
	})
	c.await("fails", "looping", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].RestartCount == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff" && !s[0].Ready
	})
	c.eventually("event", func() error {
		if got := events(t, c.api, "fails"); !slices.Contains(got, "FailedPostStartHook") {
			return fmt.Errorf("events %v", got)
		}
		return nil
	})
}

// The grace period covers the hook. A program is told to stop all the same, and has at
// least two seconds.
func TestStoryAPreStopThatTakesTooLong(t *testing.T) {
	c := startCluster(t, "node1")
	book, withDiary := newDiary(t)
	c.pod("node1", "slow", "busybox", command(untilTerm("up")...), func(s *corev1.PodSpec) {
		s.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "1000"}}}}
	}, withDiary)
	c.ready("slow")
	c.eventually("trap set", func() error {
		if len(book.read()) == 0 {
			return fmt.Errorf("not up")
		}
		return nil
	})
	c.delete("slow", 1)
	c.awaitGone("slow")
	if got := book.read(); !slices.Equal(got, []string{"up", "up-term"}) {
		t.Errorf("at the end: %v", got)
	}
	c.eventually("event", func() error {
		if got := events(t, c.api, "slow"); !slices.Contains(got, "FailedPreStopHook") {
			return fmt.Errorf("events %v", got)
		}
		return nil
	})
	c.eventually("no processes", func() error { return noProcess("sleep 0.0123") })
}

func TestStorySidecars(t *testing.T) {
	c := startCluster(t, "node1")
	book, withDiary := newDiary(t)
	sidecar := func(name string) corev1.Container {
		started := write(name + "-started")
		started.Exec.Command[2] = "until grep -q ^" + name + "$ /diary/diary; do sleep 0.01; done; " + started.Exec.Command[2]
		return corev1.Container{
			Name: name, Image: "busybox", Command: untilTerm(name), RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
			Lifecycle: &corev1.Lifecycle{PostStart: started},
		}
	}
	c.pod("node1", "helped", "busybox", command(untilTerm("main")...), func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{
			sidecar("first"), {Name: "init", Image: "busybox", Command: []string{"sh", "-c", "echo init >> /diary/diary"}}, sidecar("second"),
		}
	}, withDiary)
	c.pod("node1", "job", "busybox", command("true"), func(s *corev1.PodSpec) {
		s.RestartPolicy = corev1.RestartPolicyNever
		s.InitContainers = []corev1.Container{{Name: "proxy", Image: "pause", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
	})
	c.ready("helped")
	up := []string{"first", "first-started", "init", "second", "second-started", "main"}
	c.eventually("all up", func() error {
		if got := book.read(); !slices.Equal(got, up) {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	c.delete("helped", 30)
	c.awaitGone("helped")
	if got, want := book.read(), slices.Concat(up, []string{"main-term", "second-term", "first-term"}); !slices.Equal(got, want) {
		t.Errorf("in the end %v, want %v", got, want)
	}
	c.await("job", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
}

func TestStoryActiveDeadline(t *testing.T) {
	c := startCluster(t, "node1")
	// As process 1 it has to say what SIGTERM means to it.
	c.pod("node1", "late", "busybox", command("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.0123; done"))
	object := c.ready("late")
	object.Spec.ActiveDeadlineSeconds = ptr.To(int64(1)) // which may be set, and shortened, at any time
	_, err := c.api.CoreV1().Pods("default").Update(c.ctx, object, metav1.UpdateOptions{})
	must(t, err)
	pod := c.await("late", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if pod.Status.Reason != "DeadlineExceeded" || pod.Status.Message != "Pod was active on the node longer than the specified deadline" {
		t.Errorf("failed because of %q: %q", pod.Status.Reason, pod.Status.Message)
	}
	if s := pod.Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 7 {
		t.Errorf("the container is %+v", pod.Status.ContainerStatuses[0].State)
	}
	c.eventually("no processes", func() error { return noProcess("sleep 0.0123") })
}
