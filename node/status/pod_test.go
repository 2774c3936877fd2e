package status

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Containers in the states that matter to a Pod's status.
func waitingC(reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
}

func runningC(ready bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, Ready: ready, Started: ptr.To(true)}
}

func endedC(code int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}
}

func loopingC(code int32) corev1.ContainerStatus {
	c := waitingC("CrashLoopBackOff")
	c.LastTerminationState = endedC(code).State
	return c
}

func all(c ...corev1.ContainerStatus) []corev1.ContainerStatus { return c }

// podOf makes a Pod whose containers are named a, b, … and init containers i, j, …
func podOf(policy corev1.RestartPolicy, o *Outcome, sidecar bool) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy}}
	for i := range o.Containers {
		o.Containers[i].Name = string(rune('a' + i))
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: o.Containers[i].Name})
	}
	for i := range o.Init {
		o.Init[i].Name = string(rune('i' + i))
		c := corev1.Container{Name: o.Init[i].Name}
		if sidecar {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	return pod
}

func TestPhase(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	for name, row := range map[string]struct {
		policy  corev1.RestartPolicy
		o       Outcome
		sidecar bool
		want    corev1.PodPhase
	}{
		"sidecars have ended with their Pod": {never, Outcome{Init: all(endedC(0)), Containers: all(endedC(0)), Over: true}, true, corev1.PodSucceeded},
		"a sidecar comes up":                 {always, Outcome{Init: all(waitingC("PodInitializing")), Containers: all(waitingC("PodInitializing"))}, true, corev1.PodPending},
		"a sidecar crashed later on":         {always, Outcome{Init: all(loopingC(1)), Containers: all(runningC(true))}, true, corev1.PodRunning},
		"overdue":                            {always, Outcome{Containers: all(endedC(0)), Over: true, Overdue: true}, false, corev1.PodFailed},
		"being made":                         {always, Outcome{Containers: all(waitingC("ContainerCreating"))}, false, corev1.PodPending},
		"one of two waits":                   {always, Outcome{Containers: all(runningC(true), waitingC("ImagePullBackOff"))}, false, corev1.PodPending},
		"runs":                               {always, Outcome{Containers: all(runningC(false), runningC(true))}, false, corev1.PodRunning},
		"ended, will run again":              {always, Outcome{Containers: all(endedC(0))}, false, corev1.PodRunning},
		"in a crash loop":                    {always, Outcome{Containers: all(loopingC(1))}, false, corev1.PodRunning},
		"failed, will run again":             {onFailure, Outcome{Containers: all(endedC(1))}, false, corev1.PodRunning},
		"done":                               {onFailure, Outcome{Containers: all(endedC(0), endedC(0))}, false, corev1.PodSucceeded},
		"one is done":                        {never, Outcome{Containers: all(endedC(0), runningC(true))}, false, corev1.PodRunning},
		"failed":                             {never, Outcome{Containers: all(endedC(0), endedC(1))}, false, corev1.PodFailed},
		"init container runs":                {always, Outcome{Init: all(runningC(false)), Containers: all(waitingC("PodInitializing"))}, false, corev1.PodPending},
		"init container failed, for good":    {never, Outcome{Init: all(endedC(1)), Containers: all(waitingC("PodInitializing"))}, false, corev1.PodFailed},
		"init container failed, again":       {always, Outcome{Init: all(endedC(1)), Containers: all(waitingC("PodInitializing"))}, false, corev1.PodPending},
		"init container done":                {always, Outcome{Init: all(endedC(0)), Containers: all(runningC(true))}, false, corev1.PodRunning},
		"sidecar runs":                       {always, Outcome{Init: all(runningC(true)), Containers: all(runningC(true))}, true, corev1.PodRunning},
		"sidecar has not started":            {always, Outcome{Init: all(waitingC("PodInitializing")), Containers: all(waitingC("PodInitializing"))}, true, corev1.PodPending},
		"sidecar outlives the others":        {never, Outcome{Init: all(runningC(true)), Containers: all(endedC(0))}, true, corev1.PodSucceeded},
		"deleted, ended well":                {always, Outcome{Over: true, Containers: all(endedC(0))}, false, corev1.PodSucceeded},
		"deleted, killed":                    {always, Outcome{Over: true, Containers: all(endedC(137))}, false, corev1.PodFailed},
		"deleted, never had an image":        {always, Outcome{Over: true, Containers: all(waitingC("ImagePullBackOff"))}, false, corev1.PodFailed},
		"deleted while in a crash loop":      {always, Outcome{Over: true, Containers: all(loopingC(1))}, false, corev1.PodFailed},
		"deleted while being initialised":    {never, Outcome{Over: true, Init: all(endedC(0)), Containers: all(waitingC("PodInitializing"))}, false, corev1.PodFailed},
		"rejected":                           {always, Outcome{Rejected: &Rejection{"OutOfpods", "full"}}, false, corev1.PodFailed},
		"no containers are known, pending":   {always, Outcome{Containers: all(waitingC("ContainerCreating"), waitingC("ContainerCreating"))}, false, corev1.PodPending},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(row.policy, &row.o, row.sidecar)
			if got := Pod(pod, row.o, metav1.Now()).Phase; got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestAFinalPhaseStays(t *testing.T) {
	o := Outcome{Containers: all(runningC(true))}
	pod := podOf(corev1.RestartPolicyAlways, &o, false)
	pod.Status.Phase = corev1.PodFailed // written by whoever evicted it
	if got := Pod(pod, o, metav1.Now()).Phase; got != corev1.PodFailed {
		t.Errorf("Failed became %s", got)
	}
}

// story writes conditions as "Type=Status reason message".
func story(conditions []corev1.PodCondition) (lines []string) {
	for _, c := range conditions {
		line := string(c.Type) + "=" + string(c.Status)
		if c.Reason != "" {
			line += " " + c.Reason
		}
		if c.Message != "" {
			line += " " + c.Message
		}
		lines = append(lines, line)
	}
	return lines
}

func TestConditions(t *testing.T) {
	const up, scheduled = "PodReadyToStartContainers=True", "PodScheduled=True"
	for name, row := range map[string]struct {
		policy corev1.RestartPolicy
		o      Outcome
		gate   bool
		want   []string
	}{
		"being made": {corev1.RestartPolicyAlways, Outcome{Containers: all(waitingC("ContainerCreating"), runningC(true))}, false, []string{
			"PodReadyToStartContainers=False", "Initialized=True",
			"Ready=False ContainersNotReady containers with unready status: [a]",
			"ContainersReady=False ContainersNotReady containers with unready status: [a]", scheduled,
		}},
		"ready": {corev1.RestartPolicyAlways, Outcome{SandboxUp: true, Containers: all(runningC(true))}, false, []string{
			up, "Initialized=True", "Ready=True", "ContainersReady=True", scheduled,
		}},
		"waits for a gate": {corev1.RestartPolicyAlways, Outcome{SandboxUp: true, Containers: all(runningC(true))}, true, []string{
			up, "Initialized=True",
			`Ready=False ReadinessGatesNotReady corresponding condition of pod readiness gate "example.org/gate" does not exist.`,
			"ContainersReady=True", scheduled,
		}},
		"initialising": {corev1.RestartPolicyAlways, Outcome{SandboxUp: true, Init: all(runningC(false)), Containers: all(waitingC("PodInitializing"))}, false, []string{
			up, "Initialized=False ContainersNotInitialized containers with incomplete status: [i]",
			"Ready=False ContainersNotReady containers with unready status: [a]",
			"ContainersReady=False ContainersNotReady containers with unready status: [a]", scheduled,
		}},
		"done": {corev1.RestartPolicyNever, Outcome{Init: all(endedC(0)), Containers: all(endedC(0))}, false, []string{
			"PodReadyToStartContainers=False", "Initialized=True PodCompleted", "Ready=False PodCompleted", "ContainersReady=False PodCompleted", scheduled,
		}},
		"failed": {corev1.RestartPolicyNever, Outcome{Containers: all(endedC(1))}, false, []string{
			"PodReadyToStartContainers=False", "Initialized=True", "Ready=False PodFailed", "ContainersReady=False PodFailed", scheduled,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(row.policy, &row.o, false)
			if row.gate {
				pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/gate"}}
			}
			if diff := cmp.Diff(row.want, story(Pod(pod, row.o, metav1.Now()).Conditions)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestConditionsKeepTheirTimesAndOthers(t *testing.T) {
	before, now := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	o := Outcome{SandboxUp: true, Containers: all(runningC(true))}
	pod := podOf(corev1.RestartPolicyAlways, &o, false)
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: "example.org/mine", Status: corev1.ConditionTrue, LastTransitionTime: before},
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: before},
		{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: before},
	}
	times := map[corev1.PodConditionType]metav1.Time{}
	for _, c := range Pod(pod, o, now).Conditions {
		times[c.Type] = c.LastTransitionTime
	}
	want := map[corev1.PodConditionType]metav1.Time{
		"example.org/mine": before, corev1.ContainersReady: before, corev1.PodReady: now,
		corev1.PodInitialized: now, corev1.PodScheduled: now, corev1.PodReadyToStartContainers: now,
	}
	if diff := cmp.Diff(want, times); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestWhatDescribeShows: an init container that has done its work is ready, and of every
// container it is known whether it has started.
func TestWhatDescribeShows(t *testing.T) {
	o := Outcome{Init: all(endedC(0), endedC(1), waitingC("PodInitializing")), Containers: all(waitingC("PodInitializing"), runningC(true))}
	status := Pod(podOf(corev1.RestartPolicyAlways, &o, false), o, metav1.Now())
	type facts struct{ Ready, Started bool }
	got := map[string]facts{}
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, c := range list {
			if c.Started == nil {
				t.Fatalf("%s: nobody knows whether it has started", c.Name)
			}
			got[c.Name] = facts{c.Ready, *c.Started}
		}
	}
	want := map[string]facts{"i": {true, false}, "j": {}, "k": {}, "a": {}, "b": {true, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if o.Containers[0].Started != nil {
		t.Error("the outcome itself was changed")
	}
}
