package nodelifecycle

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeWith is a node whose Ready condition has a status ("": there is none).
func nodeWith(ready corev1.ConditionStatus, taints ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Reason: "KubeletReady"}}
	}
	for _, key := range taints {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	}
	return n
}

func TestDesiredTaints(t *testing.T) {
	with := func(n *corev1.Node, change func(*corev1.Node)) *corev1.Node { change(n); return n }
	pressure := func(n *corev1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
	}
	for _, row := range []struct {
		name      string
		node      *corev1.Node
		disrupted bool
		want      []string
	}{
		{"ready", nodeWith("True"), false, nil},
		{"not ready", nodeWith("False"), false, []string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}},
		{"silent", nodeWith("Unknown"), false, []string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}},
		{"silent like all others", nodeWith("Unknown"), true, []string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"never reported", nodeWith(""), false, []string{"node.kubernetes.io/not-ready:NoSchedule"}},
		{"cordoned", with(nodeWith("True"), func(n *corev1.Node) { n.Spec.Unschedulable = true }), false, []string{"node.kubernetes.io/unschedulable:NoSchedule"}},
		{"pressure", with(nodeWith("True"), pressure), false, []string{"node.kubernetes.io/disk-pressure:NoSchedule"}},
		{"well again: ours go, others stay", nodeWith("True", "node.kubernetes.io/unreachable", "mine", "node.kubernetes.io/unschedulable"), false, []string{"mine:NoSchedule"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, taint := range desiredTaints(row.node, row.disrupted, metav1.Now()) {
				got = append(got, taint.Key+":"+string(taint.Effect))
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestTaintKeepsItsTime(t *testing.T) {
	first := desiredTaints(nodeWith("Unknown"), false, metav1.Unix(1, 0))
	n := nodeWith("Unknown")
	n.Spec.Taints = first
	if again := desiredTaints(n, false, metav1.Unix(99, 0)); again[1].TimeAdded.Unix() != 1 {
		t.Errorf("added at %v, want the first time", again[1].TimeAdded)
	}
}

func TestLose(t *testing.T) {
	n := nodeWith("True")
	if !lose(n, metav1.Now()) {
		t.Fatal("nothing changed")
	}
	var got []string
	for _, c := range n.Status.Conditions {
		got = append(got, fmt.Sprintf("%s %s %s: %s", c.Type, c.Status, c.Reason, c.Message))
	}
	want := []string{
		"Ready Unknown NodeStatusUnknown: Kubelet stopped posting node status.",
		"MemoryPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status.",
		"DiskPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status.",
		"PIDPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status.",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if lose(n, metav1.Now()) {
		t.Error("lost twice")
	}
}

func TestSign(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	for _, row := range []struct {
		name          string
		before, after sign
		alive         bool
	}{
		{"nothing new", sign{at(1), at(1)}, sign{at(1), at(1)}, false},
		{"lease renewed", sign{at(1), at(1)}, sign{at(2), at(1)}, true},
		{"by a clock that was set back", sign{at(5), at(1)}, sign{at(2), at(1)}, true},
		{"status reported", sign{at(1), at(1)}, sign{at(1), at(2)}, true},
		{"lease deleted, condition set Unknown by us", sign{at(1), at(1)}, sign{}, false},
	} {
		if got := row.after.alive(row.before); got != row.alive {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

func TestEvictAt(t *testing.T) {
	added := time.Unix(1000, 0)
	seconds := func(n int64) *int64 { return &n }
	tolerate := func(key string, s *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: s}
	}
	noExecute := func(keys ...string) (out []corev1.Taint) {
		for _, k := range keys {
			out = append(out, corev1.Taint{Key: k, Effect: corev1.TaintEffectNoExecute})
		}
		return out
	}
	for _, row := range []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		in          time.Duration
		stays       bool
	}{
		{"no taints", nil, nil, 0, true},
		{"NoSchedule evicts nobody", []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}, nil, 0, true},
		{"not tolerated", noExecute("a"), nil, 0, false},
		{"tolerated for good", noExecute("a"), []corev1.Toleration{tolerate("a", nil)}, 0, true},
		{"for 300 s", noExecute("a"), []corev1.Toleration{tolerate("a", seconds(300))}, 300 * time.Second, false},
		{"the shortest counts", noExecute("a", "b"), []corev1.Toleration{tolerate("a", seconds(300)), tolerate("b", seconds(10))}, 10 * time.Second, false},
		{"one of two not tolerated", noExecute("a", "b"), []corev1.Toleration{tolerate("a", seconds(300))}, 0, false},
		{"negative is at once", noExecute("a"), []corev1.Toleration{tolerate("a", seconds(-5))}, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: row.tolerations}}
			at, stays := evictAt(pod, row.taints, func(corev1.Taint) time.Time { return added })
			if stays != row.stays || !stays && at.Sub(added) != row.in {
				t.Errorf("stays %v, in %s", stays, at.Sub(added))
			}
		})
	}
}
