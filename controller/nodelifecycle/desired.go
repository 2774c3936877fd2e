package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Options are the times that decide when a node counts as lost.
type Options struct {
	// MonitorPeriod is how often a node is looked at when nothing happens.
	MonitorPeriod time.Duration
	// GracePeriod is how long a node may stay silent, StartupGracePeriod how long one
	// may that has never said anything.
	GracePeriod, StartupGracePeriod time.Duration
}

// sign is what a node shows of being alive. Only whether it changes matters: the
// node's clock may be wrong, so its times are never compared with ours.
type sign struct {
	renewed   time.Time // of its Lease
	heartbeat time.Time // of its Ready condition
}

func signOf(node *corev1.Node, renewed time.Time) sign {
	s := sign{renewed: renewed}
	if ready := condition(node, corev1.NodeReady); ready != nil && ready.Status != corev1.ConditionUnknown {
		s.heartbeat = ready.LastHeartbeatTime.Time // Unknown is what we wrote ourselves
	}
	return s
}

// alive reports whether the node has spoken since the earlier sign.
func (s sign) alive(before sign) bool {
	news := func(now, then time.Time) bool { return !now.IsZero() && !now.Equal(then) }
	return news(s.renewed, before.renewed) || news(s.heartbeat, before.heartbeat)
}

// dueIn is how much longer a node that was last seen alive at that time may stay
// silent; zero or less: it counts as lost.
func (o Options) dueIn(node *corev1.Node, seen, now time.Time) time.Duration {
	grace := o.GracePeriod
	if condition(node, corev1.NodeReady) == nil {
		grace = o.StartupGracePeriod
	}
	return seen.Add(grace).Sub(now)
}

// reported are the conditions that a node's agent keeps.
var reported = []corev1.NodeConditionType{
	corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
}

// lose sets the conditions of a lost node to Unknown and reports whether that changed
// anything.
func lose(node *corev1.Node, now metav1.Time) (changed bool) {
	for _, kind := range reported {
		c := condition(node, kind)
		switch {
		case c == nil:
			node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown,
				Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: now,
			})
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = now
		default:
			continue
		}
		changed = true
	}
	return changed
}

// conditionTaints are the taints that follow from conditions: the status that brings
// each one.
var conditionTaints = []struct {
	kind   corev1.NodeConditionType
	status corev1.ConditionStatus
	key    string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
}

// desiredTaints is the node's taints as they should be. Those that are not ours stay.
//
// disrupted says that no node at all is ready. Then it is more likely that we are cut
// off, or that the whole machine slept, than that all nodes died at once, so nobody is
// evicted.
//
// Kubernetes: a new node is tainted not-ready by an admission plugin, here by us.
func desiredTaints(node *corev1.Node, disrupted bool, now metav1.Time) []corev1.Taint {
	var want []corev1.Taint
	for _, row := range conditionTaints {
		c := condition(node, row.kind)
		if c == nil && row.key == corev1.TaintNodeNotReady {
			want = append(want, corev1.Taint{Key: row.key, Effect: corev1.TaintEffectNoSchedule})
		}
		if c == nil || c.Status != row.status {
			continue
		}
		want = append(want, corev1.Taint{Key: row.key, Effect: corev1.TaintEffectNoSchedule})
		if row.kind == corev1.NodeReady && !disrupted {
			want = append(want, corev1.Taint{Key: row.key, Effect: corev1.TaintEffectNoExecute})
		}
	}
	if node.Spec.Unschedulable {
		want = append(want, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	var next []corev1.Taint
	for _, t := range node.Spec.Taints {
		if !ours(t) || contains(want, t) {
			next = append(next, t)
		}
	}
	for _, t := range want {
		if !contains(next, t) {
			t.TimeAdded = &now
			next = append(next, t)
		}
	}
	return next
}

// ours reports whether this loop alone decides on the taint.
func ours(t corev1.Taint) bool {
	if t.Effect == corev1.TaintEffectNoExecute {
		return t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
	}
	if t.Effect != corev1.TaintEffectNoSchedule {
		return false
	}
	for _, row := range conditionTaints {
		if row.key == t.Key {
			return true
		}
	}
	return t.Key == corev1.TaintNodeUnschedulable
}

func contains(taints []corev1.Taint, t corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(o corev1.Taint) bool { return o.MatchTaint(&t) })
}

// disrupted reports whether there are nodes and none is ready.
func disrupted(nodes []*corev1.Node) bool {
	return len(nodes) > 0 && !slices.ContainsFunc(nodes, isReady)
}

func isReady(node *corev1.Node) bool { return readiness(node) == corev1.ConditionTrue }

// readiness is the status of the Ready condition, "" where there is none.
func readiness(node *corev1.Node) corev1.ConditionStatus {
	if c := condition(node, corev1.NodeReady); c != nil {
		return c.Status
	}
	return ""
}

func condition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}

// evictAt is when a Pod must leave a node with these NoExecute taints. stays is true
// where it may stay for good. since is when a taint was put there.
//
// Kubernetes: upstream counts from when its controller first saw the taint, so that a
// restart of the controller starts the clock anew.
func evictAt(pod *corev1.Pod, taints []corev1.Taint, since func(corev1.Taint) time.Time) (at time.Time, stays bool) {
	stays = true
	for _, taint := range taints {
		if taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		limit := since(taint)
		if t := toleration(pod, taint); t != nil {
			if t.TolerationSeconds == nil {
				continue
			}
			limit = limit.Add(time.Duration(max(*t.TolerationSeconds, 0)) * time.Second)
		}
		if stays || limit.Before(at) {
			at, stays = limit, false
		}
	}
	return at, stays
}
