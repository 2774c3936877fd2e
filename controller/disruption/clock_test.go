package disruption

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/resources"
)

// TestPatience: what an eviction noted and nobody carried out is forgotten after two
// minutes, in the budget and in the Pod.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := metav1.Now()
		p := pod("web", "ready")
		p.Namespace = "default"
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", LastTransitionTime: at,
		})
		b := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default"},
			Spec: policyv1.PodDisruptionBudgetSpec{
				MinAvailable: new(intstr.FromInt32(0)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			},
			Status: policyv1.PodDisruptionBudgetStatus{DisruptedPods: map[string]metav1.Time{"web": at}},
		}
		client := fake.NewClientset(p, b)
		factory := informers.NewSharedInformerFactory(client, 0)
		c, err := New(loop.Env{
			Client: client, Informers: factory, Log: slog.New(slog.DiscardHandler),
			Recorder: func(string) record.EventRecorder { return &record.FakeRecorder{} },
		}, &resources.Catalog{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		factory.StartWithContext(ctx)
		cache.WaitFor(ctx, "", c.Synced()...)
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		defer func() { cancel(); <-done; factory.Shutdown() }()

		look := func(allowed int32, target corev1.ConditionStatus) {
			t.Helper()
			b, err := client.PolicyV1().PodDisruptionBudgets("default").Get(ctx, "b", metav1.GetOptions{})
			if err != nil || b.Status.DisruptionsAllowed != allowed {
				t.Errorf("%v, budget %+v", err, b.Status)
			}
			p, err := client.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
			if err != nil || p.Status.Conditions[1].Status != target {
				t.Errorf("%v, conditions %+v", err, p.Status.Conditions)
			}
		}
		time.Sleep(patience - time.Second)
		synctest.Wait()
		look(0, corev1.ConditionTrue)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		look(1, corev1.ConditionFalse)
	})
}
