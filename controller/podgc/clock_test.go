package podgc

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
)

// TestQuarantine: the Pods of a deleted node go after the quarantine, and those of a
// node that comes back within it stay.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
		on := func(name, nodeName string) *corev1.Pod {
			p := pod(name, nodeName, corev1.PodRunning, 1)
			p.Namespace = "default"
			return p
		}
		static := on("static", "control-plane")
		static.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		client := fake.NewClientset(node("node1"), node("node2"), node("node3"),
			on("a", "node1"), on("b", "node2"), on("c", "node3"), on("lost", "long-gone"), static)
		factory := informers.NewSharedInformerFactory(client, 0)
		c, err := New(loop.Env{Client: client, Informers: factory, Log: slog.New(slog.DiscardHandler)}, Quarantine)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		factory.StartWithContext(ctx)
		cache.WaitFor(ctx, "", c.Synced()...)
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		defer func() { cancel(); <-done; factory.Shutdown() }()

		nodes := client.CoreV1().Nodes()
		for _, name := range []string{"node2", "node3"} {
			if err := nodes.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(Quarantine - time.Second)
		if _, err := nodes.Create(ctx, node("node3"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		names := func() (out []string) {
			list, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list.Items {
				out = append(out, p.Name)
			}
			return out
		}
		synctest.Wait()
		if got := names(); len(got) != 5 {
			t.Fatalf("in quarantine: %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := names(); !slices.Equal(got, []string{"a", "c", "static"}) {
			t.Errorf("after it: %q", got)
		}
	})
}
