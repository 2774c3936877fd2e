package controller_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/controller"
)

func (c *cluster) getNode(name string) *corev1.Node {
	c.t.Helper()
	node, err := c.CoreV1().Nodes().Get(c.ctx, name, metav1.GetOptions{})
	must(c.t, err)
	return node
}

func hasTaint(node *corev1.Node, key string, effect corev1.TaintEffect) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key && t.Effect == effect })
}

// TestNodeFailure takes a node from its last heartbeat to the eviction of its Pods,
// and back.
func TestNodeFailure(t *testing.T) {
	c := start(t, func(cfg *controller.Config) {
		cfg.NodeMonitorPeriod = 50 * time.Millisecond
		cfg.NodeMonitorGracePeriod = time.Second
	})
	node1, node2 := c.node("node1"), c.node("node2")
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	alive := []*agent{node1, node2}
	tick := func() {
		<-beat.C
		for _, a := range alive {
			a.renew()
		}
	}
	waitFor := func(what string, f func() error) {
		t.Helper()
		eventually(t, what, func() error { tick(); return f() })
	}
	one := int64(1)
	d := deployment("web", 4, "nginx")
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &one},
	}
	c.deploy(d)
	waitFor("4 ready pods", func() error { return c.readyPods("web", 4) })

	node2.mu.Lock()
	node2.dead = true
	node2.mu.Unlock()
	alive = alive[:1]
	waitFor("the node becomes Unknown", func() error {
		node := c.getNode("node2")
		for _, cond := range node.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionUnknown && cond.Reason == "NodeStatusUnknown" &&
				cond.Message == "Kubelet stopped posting node status." {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", node.Status.Conditions)
	})
	c.hasEvent("Node", "NodeNotReady", "Node node2 status is now: NodeNotReady")
	c.hasEvent("Pod", "NodeNotReady", "Node is not ready")
	waitFor("taints", func() error {
		node := c.getNode("node2")
		if !hasTaint(node, corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule) || !hasTaint(node, corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute) {
			return fmt.Errorf("%+v", node.Spec.Taints)
		}
		return nil
	})
	waitFor("eviction, and replacements on the other node", func() error {
		for _, pod := range c.pods("web") {
			if pod.Spec.NodeName == "node2" && pod.DeletionTimestamp == nil {
				return fmt.Errorf("%s is not evicted", pod.Name)
			}
		}
		return c.readyPods("web", 4)
	})
	c.hasEvent("Pod", "TaintManagerEviction", "Marking for deletion Pod default/web-")

	alive = append(alive, node2)
	must(t, c.reportReady("node2"))
	waitFor("the taints go", func() error {
		if taints := c.getNode("node2").Spec.Taints; len(taints) > 0 {
			return fmt.Errorf("%+v", taints)
		}
		return nil
	})
}

func (c *cluster) readyPods(app string, want int) error {
	n := 0
	for _, pod := range c.pods(app) {
		for _, cond := range pod.Status.Conditions {
			if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
				n++
			}
		}
	}
	if n != want {
		return fmt.Errorf("%d ready pods, want %d", n, want)
	}
	return nil
}

func TestPodCIDRs(t *testing.T) {
	c := start(t)
	for _, name := range []string{"node1", "node2", "node3"} {
		c.node(name)
		eventually(t, "range of "+name, func() error {
			if c.getNode(name).Spec.PodCIDR == "" {
				return fmt.Errorf("none")
			}
			return nil
		})
	}
	for i, name := range []string{"node1", "node2", "node3"} {
		node := c.getNode(name)
		if want := fmt.Sprintf("10.244.%d.0/24", i); node.Spec.PodCIDR != want || !slices.Equal(node.Spec.PodCIDRs, []string{want}) {
			t.Errorf("%s has %s %v, want %s", name, node.Spec.PodCIDR, node.Spec.PodCIDRs, want)
		}
	}
}

func TestCordon(t *testing.T) {
	c := start(t)
	c.node("node1")
	node := c.getNode("node1")
	eventually(t, "taint", func() error {
		node = c.getNode("node1")
		node.Spec.Unschedulable = true
		_, err := c.CoreV1().Nodes().Update(c.ctx, node, metav1.UpdateOptions{})
		return err
	})
	eventually(t, "taint", func() error {
		if node := c.getNode("node1"); !hasTaint(node, corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule) {
			return fmt.Errorf("%+v", node.Spec.Taints)
		}
		return nil
	})
	c.deploy(deployment("web", 1, "nginx"))
	c.hasEvent("Pod", "FailedScheduling", "0/1 nodes are available: 1 node(s) were unschedulable.")
	eventually(t, "uncordon", func() error {
		node := c.getNode("node1")
		node.Spec.Unschedulable = false
		_, err := c.CoreV1().Nodes().Update(c.ctx, node, metav1.UpdateOptions{})
		return err
	})
	c.rolledOut("web")
}
