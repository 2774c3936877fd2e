package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestDrain evicts all Pods of a Deployment under a budget that lets one at a time be
// away: each eviction but the first waits until the Pod made in its stead is ready.
func TestDrain(t *testing.T) {
	c := start(t)
	c.node("node1")
	c.deploy(deployment("web", 3, "nginx"))
	_, err := c.PolicyV1().PodDisruptionBudgets("default").Create(c.ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		},
	}, metav1.CreateOptions{})
	must(t, err)
	var first []corev1.Pod
	eventually(t, "three healthy Pods, one to spare", func() error {
		b, err := c.PolicyV1().PodDisruptionBudgets("default").Get(c.ctx, "web", metav1.GetOptions{})
		if err != nil || b.Status.DisruptionsAllowed != 1 || b.Status.ExpectedPods != 3 || b.Status.DesiredHealthy != 2 ||
			!meta.IsStatusConditionTrue(b.Status.Conditions, policyv1.DisruptionAllowedCondition) {
			return fmt.Errorf("%v, %+v", err, b.Status)
		}
		list, err := c.CoreV1().Pods("default").List(c.ctx, metav1.ListOptions{})
		first = list.Items
		return err
	})
	refused := 0
	for _, pod := range first {
		eventually(t, "evict "+pod.Name, func() error {
			err := c.PolicyV1().Evictions("default").Evict(c.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: "default"}})
			if apierrors.IsTooManyRequests(err) {
				refused++
			}
			list, _ := c.CoreV1().Pods("default").List(c.ctx, metav1.ListOptions{})
			ready := 0
			for _, p := range list.Items {
				for _, cond := range p.Status.Conditions {
					if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
						ready++
					}
				}
			}
			if ready < 2 {
				t.Fatalf("only %d Pods are left", ready)
			}
			return err
		})
	}
	t.Logf("%d evictions were refused", refused)
}

// TestBudgetOfNobodysPods: what has no owner cannot be counted in percent, and what has
// an owner without a scale is an error that grants nothing.
func TestBudgetOfNobodysPods(t *testing.T) {
	c := start(t)
	c.node("node1")
	owner, err := c.CoreV1().ConfigMaps("default").Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	must(t, err)
	for _, name := range []string{"free", "owned"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		if name == "owned" {
			pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
		}
		_, err := c.CoreV1().Pods("default").Create(c.ctx, pod, metav1.CreateOptions{})
		must(t, err)
		_, err = c.PolicyV1().PodDisruptionBudgets("default").Create(c.ctx, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: policyv1.PodDisruptionBudgetSpec{
				MaxUnavailable: new(intstr.FromString("50%")), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			},
		}, metav1.CreateOptions{})
		must(t, err)
	}
	for name, want := range map[string]string{"free": "InsufficientPods:", "owned": "SyncFailed:configmaps does not implement the scale subresource"} {
		eventually(t, name, func() error {
			b, err := c.PolicyV1().PodDisruptionBudgets("default").Get(c.ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			cond := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
			if cond == nil || cond.Reason+":"+cond.Message != want {
				return fmt.Errorf("condition %+v", cond)
			}
			return nil
		})
	}
	eventually(t, "the event", func() error {
		events, err := c.CoreV1().Events("default").List(c.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=free,reason=UnmanagedPods"})
		if err != nil || len(events.Items) == 0 {
			return fmt.Errorf("%v, %d events", err, len(events.Items))
		}
		return nil
	})
}

// TestPreemptionHeedsBudgets: of two Pods in the way of a third the one without a budget
// goes, though it is the more important one.
func TestPreemptionHeedsBudgets(t *testing.T) {
	c := start(t)
	_, err := c.PolicyV1().PodDisruptionBudgets("default").Create(c.ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(0)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
		},
	}, metav1.CreateOptions{})
	must(t, err)
	for name, value := range map[string]int32{"middle": 10, "high": 100} {
		_, err := c.SchedulingV1().PriorityClasses().Create(c.ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}, metav1.CreateOptions{})
		must(t, err)
	}
	c.node("node1") // two CPUs
	create := func(name, class string) {
		_, err := c.CoreV1().Pods("default").Create(c.ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
			Spec: corev1.PodSpec{PriorityClassName: class, Containers: []corev1.Container{{Name: "c", Image: "nginx", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			}}}},
		}, metav1.CreateOptions{})
		must(t, err)
	}
	placed := func(name string) {
		eventually(t, name+" on its node", func() error {
			pod, err := c.CoreV1().Pods("default").Get(c.ctx, name, metav1.GetOptions{})
			if err == nil && pod.Spec.NodeName == "" {
				err = fmt.Errorf("conditions %+v", pod.Status.Conditions)
			}
			return err
		})
	}
	create("db", "")
	placed("db")
	create("web", "middle")
	placed("web")
	create("boss", "high")
	placed("boss")
	c.hasEvent("Pod", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement for pod on node node1, preempting 1 victims")
	c.hasEvent("Pod", "Preempted", "on node node1")
	if _, err := c.CoreV1().Pods("default").Get(c.ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("web: %v, want it gone", err)
	}
	db, err := c.CoreV1().Pods("default").Get(c.ctx, "db", metav1.GetOptions{})
	if err != nil || db.DeletionTimestamp != nil {
		t.Errorf("db: %v %v", err, db.DeletionTimestamp)
	}
}
