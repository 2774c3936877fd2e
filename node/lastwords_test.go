package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestStoryLastWords(t *testing.T) {
	c := startCluster(t, "node1")
	for name, row := range map[string]struct {
		script, path string
		policy       corev1.TerminationMessagePolicy
		want         string
	}{
		"file":          {"echo to the log; printf words > /dev/termination-log; exit 1", "/dev/termination-log", corev1.TerminationMessageReadFile, "words"},
		"elsewhere":     {"printf 'other words' > /my/message", "/my/message", corev1.TerminationMessageReadFile, "other words"},
		"nothing":       {"echo to the log; exit 1", "/dev/termination-log", corev1.TerminationMessageReadFile, ""},
		"log":           {"echo to the log; exit 1", "/dev/termination-log", corev1.TerminationMessageFallbackToLogsOnError, "to the log\n"},
		"file-over-log": {"echo to the log; printf words > /dev/termination-log; exit 1", "/dev/termination-log", corev1.TerminationMessageFallbackToLogsOnError, "words"},
		"no-error":      {"echo to the log", "/dev/termination-log", corev1.TerminationMessageFallbackToLogsOnError, ""},
		"long":          {"head -c 10000 /dev/zero | tr '\\0' x > /dev/termination-log; exit 1", "/dev/termination-log", corev1.TerminationMessageReadFile, strings.Repeat("x", 4096)},
		"long-log":      {"i=0; while [ $i -lt 200 ]; do echo 12345678901234567890; i=$((i+1)); done; exit 1", "/dev/termination-log", corev1.TerminationMessageFallbackToLogsOnError, strings.Repeat("12345678901234567890\n", 80)},
	} {
		c.pod("node1", name, "busybox", command("sh", "-c", row.script), func(s *corev1.PodSpec) {
			s.RestartPolicy = corev1.RestartPolicyNever
			s.Containers[0].TerminationMessagePath, s.Containers[0].TerminationMessagePolicy = row.path, row.policy
		})
		pod := c.await(name, "ended", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Terminated != nil
		})
		if got := pod.Status.ContainerStatuses[0].State.Terminated.Message; got != row.want {
			t.Errorf("%s: message %q, want %q", name, got, row.want)
		}
	}
}
