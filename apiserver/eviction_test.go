package apiserver

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

func TestTakeShare(t *testing.T) {
	condition := func(reason, message string) []metav1.Condition {
		return []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
	}
	many := map[string]metav1.Time{}
	for i := range maxPending + 1 {
		many[fmt.Sprint(i)] = metav1.Time{}
	}
	for _, c := range []struct {
		name   string
		status policyv1.PodDisruptionBudgetStatus
		code   int32 // 0: it may
		retry  int32
		cause  string
	}{
		{"some left", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: 2}, 0, 0, ""},
		{"the last", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: 1}, 0, 0, ""},
		{"not seen yet", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 2}, 429, 10,
			"The disruption budget b is still being processed by the server."},
		{"negative", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: -1}, 403, 0,
			"The disruption budget b does not allow evicting pods currently: pdb disruptions allowed is negative"},
		{"too many", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: 1, DisruptedPods: many}, 403, 0,
			"The disruption budget b does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller"},
		{"none left", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, CurrentHealthy: 1, DesiredHealthy: 2}, 429, 0,
			"The disruption budget b needs 2 healthy pods and has 1 currently"},
		{"failed", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, Conditions: condition("SyncFailed", "no scale")}, 429, 0,
			"The disruption budget b does not allow evicting pods currently because it failed sync: no scale"},
		{"healthy, but", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, CurrentHealthy: 3, DesiredHealthy: 2, Conditions: condition("Moon", "full")}, 429, 0,
			"The disruption budget b does not allow evicting pods currently (Moon): full"},
		{"healthy", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, CurrentHealthy: 3, DesiredHealthy: 2}, 429, 0,
			"The disruption budget b does not allow evicting pods currently"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Generation: 2}, Status: c.status}
			err := takeShare(b, "p", time.Unix(1, 0))
			if c.code == 0 {
				_, noted := b.Status.DisruptedPods["p"]
				if err != nil || !noted || b.Status.DisruptionsAllowed != c.status.DisruptionsAllowed-1 {
					t.Errorf("%v, %+v", err, b.Status)
				}
				if spent := meta.IsStatusConditionFalse(b.Status.Conditions, policyv1.DisruptionAllowedCondition); spent != (b.Status.DisruptionsAllowed == 0) {
					t.Errorf("conditions %v", b.Status.Conditions)
				}
				return
			}
			s := status(err)
			if s.Code != c.code || s.Details.RetryAfterSeconds != c.retry || len(s.Details.Causes) != 1 ||
				s.Details.Causes[0].Type != policyv1.DisruptionBudgetCause || s.Details.Causes[0].Message != c.cause {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestSpares(t *testing.T) {
	ready := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	healthy, unhealthy := policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 2, DesiredHealthy: 2}, policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, DesiredHealthy: 2}
	always := policyv1.PodDisruptionBudgetSpec{UnhealthyPodEvictionPolicy: new(policyv1.AlwaysAllow)}
	for _, c := range []struct {
		name string
		b    policyv1.PodDisruptionBudget
		p    *corev1.Pod
		want bool
	}{
		{"a ready one counts", policyv1.PodDisruptionBudget{Spec: always, Status: healthy}, ready, false},
		{"the others suffice", policyv1.PodDisruptionBudget{Status: healthy}, &corev1.Pod{}, true},
		{"the others don't", policyv1.PodDisruptionBudget{Status: unhealthy}, &corev1.Pod{}, false},
		{"none are wanted", policyv1.PodDisruptionBudget{}, &corev1.Pod{}, false},
		{"always", policyv1.PodDisruptionBudget{Spec: always, Status: unhealthy}, &corev1.Pod{}, true},
	} {
		if got := spares(&c.b, c.p); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// running makes Pods as if a node ran them.
func running(t *testing.T, client *kubernetes.Clientset, ready corev1.ConditionStatus, names ...string) {
	t.Helper()
	for _, name := range names {
		pod, err := client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}
		if _, err := client.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// budget makes one for app=web that grants so many evictions, as its controller would.
func budget(t *testing.T, client *kubernetes.Clientset, name string, allowed int32) {
	t.Helper()
	budgets := client.PolicyV1().PodDisruptionBudgets("default")
	b, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: allowed, CurrentHealthy: 1 + allowed, DesiredHealthy: 1}
	if _, err := budgets.UpdateStatus(t.Context(), b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func eviction(name string, o *metav1.DeleteOptions) *policyv1.Eviction {
	return &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, DeleteOptions: o}
}

// TestEvictionUnderConcurrency: of many evictions at once a budget grants as many as it has.
func TestEvictionUnderConcurrency(t *testing.T) {
	client := start(t).client()
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprintf("web%d", i))
	}
	running(t, client, corev1.ConditionTrue, names...)
	budget(t, client, "web", 3)
	var mu sync.Mutex
	var wg sync.WaitGroup
	evicted := []string{}
	for _, name := range names {
		wg.Go(func() {
			err := client.PolicyV1().Evictions("default").Evict(t.Context(), eviction(name, nil))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				evicted = append(evicted, name)
			case !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	b, err := client.PolicyV1().PodDisruptionBudgets("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || len(evicted) != 3 || b.Status.DisruptionsAllowed != 0 || len(b.Status.DisruptedPods) != 3 {
		t.Fatalf("evicted %v, budget %+v, %v", evicted, b.Status, err)
	}
	for _, name := range evicted {
		if _, noted := b.Status.DisruptedPods[name]; !noted {
			t.Errorf("%s is not noted in the budget", name)
		}
	}
	pods, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 5 { // nobody's node, so they go at once
		t.Errorf("%d Pods are left, %v", len(pods.Items), err)
	}
}

func TestEvictions(t *testing.T) {
	client := start(t).client()
	evict := func(name string, o *metav1.DeleteOptions) error {
		return client.PolicyV1().Evictions("default").Evict(t.Context(), eviction(name, o))
	}
	exists := func(name string) bool {
		_, err := client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		return err == nil
	}
	running(t, client, corev1.ConditionTrue, "a", "b", "done")
	running(t, client, corev1.ConditionFalse, "sick")
	budget(t, client, "web", 1)

	if err := evict("none", nil); !apierrors.IsNotFound(err) {
		t.Errorf("a Pod that is not there: %v", err)
	}
	if err := evict("a", &metav1.DeleteOptions{DryRun: []string{"All"}}); err != nil || !exists("a") {
		t.Errorf("dry run: %v, still there: %v", err, exists("a"))
	}
	if err := evict("a", metav1.NewPreconditionDeleteOptions("other")); !apierrors.IsConflict(err) || !exists("a") {
		t.Errorf("another uid: %v", err)
	}
	b, _ := client.PolicyV1().PodDisruptionBudgets("default").Get(t.Context(), "web", metav1.GetOptions{})
	if b.Status.DisruptionsAllowed != 0 { // as upstream: the share is taken before the Pod is looked at
		t.Errorf("after the refused one %+v", b.Status)
	}
	if err := evict("a", nil); !apierrors.IsTooManyRequests(err) {
		t.Errorf("beyond the budget: %v", err)
	}
	if err := evict("sick", nil); err != nil || exists("sick") {
		t.Errorf("one that isn't ready: %v", err)
	}
	done, _ := client.CoreV1().Pods("default").Get(t.Context(), "done", metav1.GetOptions{})
	done.Status.Phase = corev1.PodSucceeded
	if _, err := client.CoreV1().Pods("default").UpdateStatus(t.Context(), done, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := client.PolicyV1beta1().Evictions("default").Evict(t.Context(), &policyv1beta1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "done", Namespace: "default"}})
	if err != nil || exists("done") {
		t.Errorf("a finished one, by policy/v1beta1: %v", err)
	}
	budget(t, client, "second", 5)
	if err := evict("a", nil); err == nil || err.Error() != errManyBudgets().Error() {
		t.Errorf("two budgets: %v", err)
	}
}

// TestEvictionIsNoted: until its node has stopped it, the Pod says why it goes.
func TestEvictionIsNoted(t *testing.T) {
	c := start(t)
	client := c.client()
	running(t, client, corev1.ConditionTrue, "web")
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Target: corev1.ObjectReference{Kind: "Node", Name: "node1"}}
	if err := client.CoreV1().Pods("default").Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.PolicyV1().Evictions("default").Evict(t.Context(), eviction("web", &metav1.DeleteOptions{GracePeriodSeconds: new(int64(7))})); err != nil {
		t.Fatal(err)
	}
	pod, err := client.CoreV1().Pods("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 7 {
		t.Fatalf("%v, %+v", err, pod)
	}
	if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Reason == "EvictionByEvictionAPI" && c.Message == "Eviction API: evicting"
	}) {
		t.Errorf("conditions %+v", pod.Status.Conditions)
	}
	code, _, body := c.call(c.http(), "POST", "/api/v1/namespaces/default/pods/web/eviction", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"other"}}`)
	if code != 400 || !strings.Contains(body, "name in URL does not match name in Eviction object") {
		t.Errorf("another name in the body: %d %s", code, body)
	}
}
