package controller_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// deployment is like what `kubectl create deployment` makes.
func deployment(name string, replicas int32, image string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "web", Image: image, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}},
				}}},
			},
		},
	}
}

func (c *cluster) deploy(d *appsv1.Deployment) {
	c.t.Helper()
	_, err := c.AppsV1().Deployments("default").Create(c.ctx, d, metav1.CreateOptions{})
	must(c.t, err)
}

func (c *cluster) pods(app string) []corev1.Pod {
	c.t.Helper()
	list, err := c.CoreV1().Pods("default").List(c.ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	must(c.t, err)
	return list.Items
}

// rolledOut waits as `kubectl rollout status` does.
func (c *cluster) rolledOut(name string) *appsv1.Deployment {
	c.t.Helper()
	var d *appsv1.Deployment
	eventually(c.t, "rollout of "+name, func() error {
		var err error
		d, err = c.AppsV1().Deployments("default").Get(c.ctx, name, metav1.GetOptions{})
		must(c.t, err)
		want, s := *d.Spec.Replicas, d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != want || s.Replicas != want || s.AvailableReplicas != want {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	return d
}

func (c *cluster) patchDeployment(name, patch string) {
	c.t.Helper()
	_, err := c.AppsV1().Deployments("default").Patch(c.ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	must(c.t, err)
}

func (c *cluster) hasEvent(kind, reason, part string) {
	c.t.Helper()
	eventually(c.t, "event "+reason, func() error {
		list, err := c.CoreV1().Events("").List(c.ctx, metav1.ListOptions{})
		must(c.t, err)
		var seen []string
		for _, e := range list.Items {
			if e.InvolvedObject.Kind == kind && e.Reason == reason && strings.Contains(e.Message, part) {
				return nil
			}
			seen = append(seen, e.InvolvedObject.Kind+" "+e.Reason+": "+e.Message)
		}
		return fmt.Errorf("not among %q", seen)
	})
}

func TestDeployment(t *testing.T) {
	c := start(t)
	for _, n := range []string{"node1", "node2", "node3"} {
		c.node(n)
	}
	c.deploy(deployment("web", 6, "nginx:1"))
	c.rolledOut("web")

	perNode := map[string]int{}
	for _, pod := range c.pods("web") {
		perNode[pod.Spec.NodeName]++
	}
	if want := map[string]int{"node1": 2, "node2": 2, "node3": 2}; !maps.Equal(perNode, want) {
		t.Errorf("pods per node: %v, want %v", perNode, want)
	}
	c.hasEvent("Deployment", "ScalingReplicaSet", "from 0 to 6")
	c.hasEvent("ReplicaSet", "SuccessfulCreate", "Created pod: web-")
	c.hasEvent("Pod", "Scheduled", "Successfully assigned default/web-")

	t.Run("rolling update keeps minimum availability", func(t *testing.T) {
		c.patchDeployment("web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}}}`)
		d := c.rolledOut("web")
		if d.Annotations["deployment.kubernetes.io/revision"] != "2" {
			t.Errorf("annotations %v, want revision 2", d.Annotations)
		}
		for _, pod := range c.pods("web") {
			if image := pod.Spec.Containers[0].Image; image != "nginx:2" && pod.DeletionTimestamp == nil {
				t.Errorf("%s runs %s", pod.Name, image)
			}
		}
	})
	t.Run("undo brings the old ReplicaSet back as revision 3", func(t *testing.T) {
		c.patchDeployment("web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1"}]}}}}`)
		c.rolledOut("web")
		var revisions []string
		list, err := c.AppsV1().ReplicaSets("default").List(c.ctx, metav1.ListOptions{})
		must(t, err)
		for _, rs := range list.Items {
			revisions = append(revisions, fmt.Sprintf("%s %s %d", rs.Spec.Template.Spec.Containers[0].Image,
				rs.Annotations["deployment.kubernetes.io/revision"], *rs.Spec.Replicas))
		}
		slices.Sort(revisions)
		if want := []string{"nginx:1 3 6", "nginx:2 2 0"}; !slices.Equal(revisions, want) {
			t.Errorf("ReplicaSets %q, want %q", revisions, want)
		}
	})
	t.Run("scale down and up", func(t *testing.T) {
		c.patchDeployment("web", `{"spec":{"replicas":1}}`)
		c.rolledOut("web")
		c.hasEvent("Deployment", "ScalingReplicaSet", "from 6 to 1")
		c.patchDeployment("web", `{"spec":{"replicas":4}}`)
		c.rolledOut("web")
	})
	t.Run("a deleted pod is replaced", func(t *testing.T) {
		gone := c.pods("web")[0]
		must(t, c.CoreV1().Pods("default").Delete(c.ctx, gone.Name, metav1.DeleteOptions{}))
		eventually(t, "replacement", func() error {
			pods := c.pods("web")
			if len(pods) != 4 || slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.UID == gone.UID }) {
				return fmt.Errorf("%d pods", len(pods))
			}
			return nil
		})
		c.rolledOut("web")
	})
	t.Run("deleting it deletes everything below", func(t *testing.T) {
		must(t, c.AppsV1().Deployments("default").Delete(c.ctx, "web", metav1.DeleteOptions{}))
		eventually(t, "garbage collection", func() error {
			sets, err := c.AppsV1().ReplicaSets("default").List(c.ctx, metav1.ListOptions{})
			must(t, err)
			if pods := c.pods("web"); len(pods)+len(sets.Items) > 0 {
				return fmt.Errorf("%d pods, %d replica sets left", len(pods), len(sets.Items))
			}
			return nil
		})
	})
}

func TestDeletePropagation(t *testing.T) {
	c := start(t)
	c.node("node1")
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationOrphan, metav1.DeletePropagationForeground} {
		t.Run(string(policy), func(t *testing.T) {
			name := strings.ToLower(string(policy))
			c.deploy(deployment(name, 2, "nginx"))
			c.rolledOut(name)
			must(t, c.AppsV1().Deployments("default").Delete(c.ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}))
			eventually(t, "deletion", func() error {
				if _, err := c.AppsV1().Deployments("default").Get(c.ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("the Deployment is there: %v", err)
				}
				return nil
			})
			sets, err := c.AppsV1().ReplicaSets("default").List(c.ctx, metav1.ListOptions{LabelSelector: "app=" + name})
			must(t, err)
			pods := c.pods(name)
			if policy == metav1.DeletePropagationForeground {
				if len(sets.Items)+len(pods) > 0 {
					t.Errorf("the owner went before its dependents: %d replica sets, %d pods left", len(sets.Items), len(pods))
				}
				return
			}
			if len(sets.Items) != 1 || len(pods) != 2 || len(sets.Items[0].OwnerReferences) != 0 {
				t.Errorf("orphans: %d replica sets with owners %v, %d pods", len(sets.Items), sets.Items[0].OwnerReferences, len(pods))
			}
		})
	}
}

func TestEndpointsFollowReadiness(t *testing.T) {
	c := start(t)
	c.node("node1")
	_, err := c.CoreV1().Services("default").Create(c.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"team": "a"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	must(t, err)

	// see reads both forms and returns the ready and other addresses, which must agree.
	see := func() (ready, other int, err error) {
		slices, err := c.DiscoveryV1().EndpointSlices("default").List(c.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web,team=a"})
		must(t, err)
		if len(slices.Items) != 1 {
			return 0, 0, fmt.Errorf("%d slices", len(slices.Items))
		}
		for _, e := range slices.Items[0].Endpoints {
			if *e.Conditions.Ready {
				ready++
			} else if !*e.Conditions.Terminating {
				other++
			}
		}
		ep, err := c.CoreV1().Endpoints("default").Get(c.ctx, "web", metav1.GetOptions{})
		if err != nil {
			return 0, 0, err
		}
		var r, n int
		for _, s := range ep.Subsets {
			r, n = r+len(s.Addresses), n+len(s.NotReadyAddresses)
		}
		if r != ready || n != other {
			return 0, 0, fmt.Errorf("slice has %d ready and %d other, Endpoints %d and %d", ready, other, r, n)
		}
		return ready, other, nil
	}
	expect := func(ready, other int) {
		t.Helper()
		eventually(t, "endpoints", func() error {
			r, o, err := see()
			if err == nil && (r != ready || o != other) {
				err = fmt.Errorf("%d ready, %d other; want %d, %d", r, o, ready, other)
			}
			return err
		})
	}
	expect(0, 0)
	c.deploy(deployment("web", 3, "nginx"))
	expect(3, 0)
	pod := c.pods("web")[0]
	for range 20 { // each flip finds a cache that has just been written past
		must(t, c.setReady(&pod, false))
		must(t, c.setReady(&pod, true))
	}
	expect(3, 0)
	must(t, c.setReady(&pod, false))
	expect(2, 1)
	c.patchDeployment("web", `{"spec":{"replicas":0}}`)
	expect(0, 0)

	must(t, c.CoreV1().Services("default").Delete(c.ctx, "web", metav1.DeleteOptions{}))
	eventually(t, "the Service's endpoints go with it", func() error {
		slices, err := c.DiscoveryV1().EndpointSlices("default").List(c.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		must(t, err)
		_, err = c.CoreV1().Endpoints("default").Get(c.ctx, "web", metav1.GetOptions{})
		if len(slices.Items) > 0 || !apierrors.IsNotFound(err) {
			return fmt.Errorf("%d slices, endpoints: %v", len(slices.Items), err)
		}
		return nil
	})
}

func TestNamespaceDeletion(t *testing.T) {
	c := start(t)
	c.node("node1")
	_, err := c.CoreV1().Namespaces().Create(c.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{})
	must(t, err)
	_, err = c.AppsV1().Deployments("team").Create(c.ctx, deployment("web", 2, "nginx"), metav1.CreateOptions{})
	must(t, err)
	_, err = c.CoreV1().ConfigMaps("team").Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: "kept", Finalizers: []string{"example.org/hold"},
	}}, metav1.CreateOptions{})
	must(t, err)
	eventually(t, "pods", func() error {
		list, err := c.CoreV1().Pods("team").List(c.ctx, metav1.ListOptions{})
		must(t, err)
		if len(list.Items) != 2 {
			return fmt.Errorf("%d pods", len(list.Items))
		}
		return nil
	})
	must(t, c.CoreV1().Namespaces().Delete(c.ctx, "team", metav1.DeleteOptions{}))

	eventually(t, "the namespace says what it waits for", func() error {
		ns, err := c.CoreV1().Namespaces().Get(c.ctx, "team", metav1.GetOptions{})
		must(t, err)
		for _, cond := range ns.Status.Conditions {
			if cond.Type == corev1.NamespaceFinalizersRemaining && cond.Status == corev1.ConditionTrue &&
				strings.Contains(cond.Message, "example.org/hold in 1 resource instances") {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", ns.Status.Conditions)
	})
	_, err = c.CoreV1().ConfigMaps("team").Patch(c.ctx, "kept", types.MergePatchType, []byte(`{"metadata":{"finalizers":[]}}`), metav1.PatchOptions{})
	must(t, err)
	eventually(t, "the namespace goes", func() error {
		if _, err := c.CoreV1().Namespaces().Get(c.ctx, "team", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
}

func TestUnschedulable(t *testing.T) {
	c := start(t)
	c.node("node1")
	d := deployment("picky", 1, "nginx")
	d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	c.deploy(d)
	message := "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	c.hasEvent("Pod", "FailedScheduling", message)
	eventually(t, "condition", func() error {
		for _, cond := range c.pods("picky")[0].Status.Conditions {
			if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse && cond.Message == message {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", c.pods("picky")[0].Status.Conditions)
	})
	_, err := c.CoreV1().Nodes().Patch(c.ctx, "node1", types.MergePatchType, []byte(`{"metadata":{"labels":{"disk":"ssd"}}}`), metav1.PatchOptions{})
	must(t, err)
	c.rolledOut("picky")
}

// TestRecreate: no Pod of the new template exists before the last of the old is gone.
func TestRecreate(t *testing.T) {
	c := start(t)
	c.node("node1")
	d := deployment("web", 3, "nginx:1")
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	c.deploy(d)
	c.rolledOut("web")
	watch, err := c.CoreV1().Pods("default").Watch(c.ctx, metav1.ListOptions{LabelSelector: "app=web"})
	must(t, err)
	defer watch.Stop()
	c.patchDeployment("web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}}}`)
	old := map[types.UID]bool{}
	for fresh := 0; fresh < 3; {
		event := <-watch.ResultChan()
		pod, ok := event.Object.(*corev1.Pod)
		switch {
		case !ok:
			t.Fatalf("watch: %+v", event)
		case event.Type == "DELETED":
			delete(old, pod.UID)
		case pod.Spec.Containers[0].Image == "nginx:1":
			old[pod.UID] = true
		case event.Type == "ADDED":
			if fresh++; len(old) > 0 {
				t.Fatalf("a new pod beside %d old ones", len(old))
			}
		}
	}
	c.rolledOut("web")
}

// TestAdoptAndRelease: a ReplicaSet takes in a Pod that matches and has no owner, and
// lets one go whose labels stop matching.
func TestAdoptAndRelease(t *testing.T) {
	c := start(t)
	c.node("node1")
	labels := map[string]string{"app": "web"}
	bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bare", Labels: labels}, Spec: deployment("web", 1, "nginx").Spec.Template.Spec}
	_, err := c.CoreV1().Pods("default").Create(c.ctx, bare, metav1.CreateOptions{})
	must(t, err)
	two := int32(2)
	rs, err := c.AppsV1().ReplicaSets("default").Create(c.ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: deployment("web", 1, "nginx").Spec.Template,
		},
	}, metav1.CreateOptions{})
	must(t, err)
	owned := func() (mine, all int) {
		for _, pod := range c.pods("web") {
			all++
			if metav1.IsControlledBy(&pod, rs) {
				mine++
			}
		}
		return mine, all
	}
	expect := func(what string) {
		t.Helper()
		eventually(t, what, func() error {
			if mine, all := owned(); mine != 2 || all != 2 {
				return fmt.Errorf("%d of %d pods are owned", mine, all)
			}
			return nil
		})
	}
	expect("the bare pod is one of two")
	_, err = c.CoreV1().Pods("default").Patch(c.ctx, "bare", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"debug"}}}`), metav1.PatchOptions{})
	must(t, err)
	expect("the released pod is replaced")
	eventually(t, "the released pod has no owner", func() error {
		pod, err := c.CoreV1().Pods("default").Get(c.ctx, "bare", metav1.GetOptions{})
		must(t, err)
		if len(pod.OwnerReferences) > 0 {
			return fmt.Errorf("owners %v", pod.OwnerReferences)
		}
		return nil
	})
}
