package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/apiserver/etcd"
)

// benchStore is a store on a member that syncs its writes.
func benchStore(b *testing.B) (*Store, *Collection) {
	b.Helper()
	m, err := etcd.Start(b.Context(), etcd.Config{DataDir: b.TempDir()}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Close)
	s, _ := run(b, m, WithRevision(m.Revision()))
	return s, s.Collection(pods)
}

// pod is about as large as pods are.
func pod(i int) *corev1.Pod {
	name := fmt.Sprintf("web-%06d", i)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: "6f1c8e0a-0000-4000-8000-000000000000",
			Labels: map[string]string{"app": "web", "pod-template-hash": "5d4f8c7b9"},
		},
		Spec: corev1.PodSpec{
			NodeName: "node1", ServiceAccountName: "default", RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{
				Name: "web", Image: "nginx", Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}},
				TerminationMessagePath: "/dev/termination-log", ImagePullPolicy: corev1.PullAlways,
			}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.244.1.7", HostIP: "172.30.0.11"},
	}
}

func writePod(b *testing.B, c *Collection, p *corev1.Pod) {
	if _, err := c.Write(context.Background(), p.Namespace, p.Name, func(*Version) (Write, error) {
		return Write{Object: p}, nil
	}); err != nil {
		b.Fatal(err)
	}
}

func fill(b *testing.B, c *Collection, n int) {
	var next atomic.Int64
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				writePod(b, c, pod(i))
			}
		})
	}
	writers.Wait()
}

// BenchmarkWrite creates pods, 16 at a time.
func BenchmarkWrite(b *testing.B) {
	_, c := benchStore(b)
	b.ReportAllocs()
	b.ResetTimer()
	fill(b, c, b.N)
}

// BenchmarkUpdate changes one pod after the other, each alone.
func BenchmarkUpdate(b *testing.B) {
	_, c := benchStore(b)
	fill(b, c, 100)
	i := 0
	for b.Loop() {
		i++
		p := pod(i%100 + 1)
		p.Status.Message = fmt.Sprint(i)
		writePod(b, c, p)
	}
}

// BenchmarkGet reads one of 2,000 pods, consistently.
func BenchmarkGet(b *testing.B) {
	_, c := benchStore(b)
	fill(b, c, 2000)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Get(context.Background(), "default", "web-001000", false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkList lists pods, whole and in pages of 500.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{2000, 20000} {
		_, c := benchStore(b)
		fill(b, c, n)
		for _, limit := range []int64{0, 500} {
			b.Run(fmt.Sprintf("objects=%d/limit=%d", n, limit), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					o := ListOptions{Namespace: "default", Limit: limit}
					for found := 0; found < n; {
						l, err := c.List(context.Background(), o)
						if err != nil {
							b.Fatal(err)
						}
						found += len(l.Items)
						o.Continue = l.Continue
					}
				}
			})
		}
	}
}

// BenchmarkFanOut is the time from the end of a write until all watchers have it,
// and, per event and watcher, what that costs (ns/delivery).
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{10, 50, 100, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", n), func(b *testing.B) {
			_, c := offline()
			var watchers, delivered sync.WaitGroup
			ctx, cancel := context.WithCancel(context.Background())
			for range n {
				w, err := c.Watch(ctx, WatchOptions{Revision: 1})
				if err != nil {
					b.Fatal(err)
				}
				watchers.Go(func() {
					defer w.Stop()
					for {
						batch, err := w.Next(ctx)
						if err != nil || len(batch) == 0 {
							return
						}
						for _, notice := range batch {
							if notice.Bookmark == 0 {
								delivered.Done()
							}
						}
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				delivered.Add(n)
				tell(c, "default", "a", "x")
				delivered.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
			cancel()
			watchers.Wait()
		})
	}
}

// BenchmarkFill loads a cluster's state, as a start does.
func BenchmarkFill(b *testing.B) {
	s, c := benchStore(b)
	fill(b, c, 2000)
	for b.Loop() {
		if _, err := s.load(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
