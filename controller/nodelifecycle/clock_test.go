package nodelifecycle

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/controller/loop"
)

// TestClock runs both loops with upstream's times against a clock that jumps: a node
// falls silent, its Pods are told, and after the 300 s that Pods tolerate by default
// they are evicted, but neither the mirror Pod nor one that tolerates everything.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := nodeWith("True")
		other := nodeWith("True")
		other.Name = "node2"
		client := fake.NewClientset(silent, other, lease("node1"), lease("node2"),
			podOn("node1", "web", 300), podOn("node1", "forever", -1), mirror(podOn("node1", "mirror", 0)), podOn("node2", "elsewhere", 300))
		ctx, cancel := context.WithCancel(t.Context())
		wait := runLoops(t, ctx, client)
		defer wait()
		defer cancel()

		start := time.Now()
		for time.Since(start) < 49*time.Second {
			time.Sleep(time.Second)
			renew(t, ctx, client, "node2")
		}
		if got := readiness(getNode(t, ctx, client)); got != corev1.ConditionTrue {
			t.Fatalf("after 49 s the node is %s", got)
		}
		sleep := func(d time.Duration) {
			for range int(d / time.Second) {
				time.Sleep(time.Second)
				renew(t, ctx, client, "node2")
			}
			synctest.Wait()
		}
		sleep(3 * time.Second)
		if got := readiness(getNode(t, ctx, client)); got != corev1.ConditionUnknown {
			t.Fatalf("after 52 s the node is %s", got)
		}
		checkPods(t, ctx, client, map[string]bool{"web": false, "forever": false, "mirror": false, "elsewhere": true})
		sleep(290 * time.Second)
		checkPods(t, ctx, client, map[string]bool{"web": false, "forever": false, "mirror": false, "elsewhere": true})
		sleep(15 * time.Second)
		checkPods(t, ctx, client, map[string]bool{"forever": false, "mirror": false, "elsewhere": true})
	})
}

// TestAllSilent: when every node falls silent nobody is evicted.
func TestAllSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(nodeWith("True"), lease("node1"), podOn("node1", "web", 300))
		ctx, cancel := context.WithCancel(t.Context())
		wait := runLoops(t, ctx, client)
		defer wait()
		defer cancel()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := readiness(getNode(t, ctx, client)); got != corev1.ConditionUnknown {
			t.Fatalf("the node is %s", got)
		}
		checkPods(t, ctx, client, map[string]bool{"web": false})
	})
}

func runLoops(t *testing.T, ctx context.Context, client *fake.Clientset) (wait func()) {
	factory := informers.NewSharedInformerFactory(client, 0)
	env := loop.Env{
		Client: client, Informers: factory, Workers: 2, Log: slog.New(slog.DiscardHandler),
		Recorder: func(string) record.EventRecorder { return &record.FakeRecorder{} },
	}
	lifecycle, err := New(env, Options{MonitorPeriod: 5 * time.Second, GracePeriod: 50 * time.Second, StartupGracePeriod: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	evictor, err := NewEvictor(env)
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	if !cache.WaitFor(ctx, "", append(lifecycle.Synced(), evictor.Synced()...)...) {
		t.Fatal("caches do not fill")
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = lifecycle.Run(ctx) })
	wg.Go(func() { _ = evictor.Run(ctx) })
	return func() { wg.Wait(); factory.Shutdown() }
}

func lease(node string) *coordinationv1.Lease {
	now := metav1.NowMicro()
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: node},
		Spec:       coordinationv1.LeaseSpec{RenewTime: &now},
	}
}

func renew(t *testing.T, ctx context.Context, client *fake.Clientset, node string) {
	if _, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Update(ctx, lease(node), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// podOn is a ready Pod that tolerates an unreachable node for some seconds, or for ever.
func podOn(node, name string, seconds int64) *corev1.Pod {
	toleration := corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}
	if seconds < 0 {
		toleration.TolerationSeconds = nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Tolerations: []corev1.Toleration{toleration}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func mirror(pod *corev1.Pod) *corev1.Pod {
	pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	pod.Spec.Tolerations = nil
	return pod
}

func getNode(t *testing.T, ctx context.Context, client *fake.Clientset) *corev1.Node {
	node, err := client.CoreV1().Nodes().Get(ctx, "node1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// checkPods compares the Pods there are, and whether they are ready.
func checkPods(t *testing.T, ctx context.Context, client *fake.Clientset, want map[string]bool) {
	t.Helper()
	list, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		ready, ok := want[pod.Name]
		if isTrue := pod.Status.Conditions[0].Status == corev1.ConditionTrue; !ok || isTrue != ready {
			t.Errorf("pod %s is there, ready: %v", pod.Name, isTrue)
		}
	}
	if len(list.Items) != len(want) {
		t.Errorf("%d pods, want %d", len(list.Items), len(want))
	}
}
