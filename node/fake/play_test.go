package fake

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var moment = metav1.NewTime(time.Unix(1000, 0))

func testPod(change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u1"},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, NodeName: "fake1", Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
	}
	change(pod)
	return pod
}

// say puts a step into a line.
func say(s step) string {
	var words []string
	if s.remove {
		words = append(words, "remove")
	}
	if s.status != nil {
		words = append(words, string(s.status.Phase), s.status.PodIP)
		for _, c := range append(s.status.InitContainerStatuses, s.status.ContainerStatuses...) {
			state := "running"
			if c.State.Terminated != nil {
				state = "ended"
			}
			words = append(words, fmt.Sprintf("%s:%s:%t:%d", c.Name, state, c.Ready, c.RestartCount))
		}
		for _, c := range s.status.Conditions {
			if c.Type == corev1.PodReady {
				words = append(words, "Ready="+string(c.Status))
			}
		}
	}
	if len(s.starts) > 0 {
		words = append(words, fmt.Sprintf("starts %d", len(s.starts)))
	}
	if s.again > 0 {
		words = append(words, "again in "+s.again.String())
	}
	return strings.Join(words, " ")
}

// TestPlay has each Pod looked at twice, a second apart.
func TestPlay(t *testing.T) {
	never := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
	for name, row := range map[string]struct {
		change      func(*corev1.Pod)
		first, then string
	}{
		"a server runs on": {func(*corev1.Pod) {}, "Running 10.0.0.2 main:running:true:0 Ready=True starts 1", ""},
		"a job ends":       {never, "Running 10.0.0.2 main:running:true:0 Ready=True starts 1 again in 1s", "Succeeded 10.0.0.2 main:ended:false:0 Ready=False"},
		"init containers and sidecars": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i"}, {Name: "s", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
		}, "Running 10.0.0.2 i:ended:true:0 s:running:true:0 main:running:true:0 Ready=True starts 3", ""},
		"sidecars of a job end": {func(p *corev1.Pod) {
			never(p)
			p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
		}, "Running 10.0.0.2 s:running:true:0 main:running:true:0 Ready=True starts 2 again in 1s", "Succeeded 10.0.0.2 s:ended:false:0 main:ended:false:0 Ready=False"},
		"a readiness gate keeps it waiting": {func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/gate"}}
		}, "Running 10.0.0.2 main:running:true:0 Ready=False starts 1", ""},
		"deleted":           {func(p *corev1.Pod) { p.DeletionTimestamp = &moment }, "remove", "remove"},
		"ended long ago":    {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, "", ""},
		"ended and deleted": {func(p *corev1.Pod) { p.Status.Phase, p.DeletionTimestamp = corev1.PodFailed, &moment }, "remove", "remove"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := testPod(row.change)
			got := []string{}
			for i := range 2 {
				s := play(pod, "10.0.0.2", "172.30.0.10", metav1.NewTime(moment.Add(time.Duration(i)*time.Second)))
				got = append(got, say(s))
				if s.status != nil {
					pod.Status = *s.status
				}
			}
			if diff := cmp.Diff([]string{row.first, row.then}, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestANewImageRestartsTheContainer(t *testing.T) {
	pod := testPod(func(*corev1.Pod) {})
	pod.Status = *play(pod, "10.0.0.2", "172.30.0.10", moment).status
	pod.Spec.Containers[0].Image = "nginx:2"
	later := metav1.NewTime(moment.Add(time.Minute))
	s := play(pod, "10.0.0.2", "172.30.0.10", later)
	if s.status == nil {
		t.Fatal("nothing happens")
	}
	c := s.status.ContainerStatuses[0]
	if c.RestartCount != 1 || c.Image != "nginx:2" || !c.State.Running.StartedAt.Equal(&later) {
		t.Errorf("got %+v", c)
	}
}
