package performance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BenchmarkAPI drives an API server, in a process of its own, with client-go, and beside
// it a server of prepared bytes (prepared_test.go). The two take turns, so that what else
// happens on the machine happens to both: the ratio says what reading, encoding and
// compressing cost beyond the connection and the client. server-µs/op is the server's CPU
// time, which others' load hardly touches.
//
//	scripts/build && go test -run '^$' -bench API -benchtime 1x ./test/performance
func BenchmarkAPI(b *testing.B) {
	api := startAPI(b)
	api.writes(b, "create", func(i int) error {
		_, err := api.ours.pods.Create(b.Context(), benchPod(i), metav1.CreateOptions{})
		return err
	})
	b.Run("get", api.reads(16, 500, func(ctx context.Context, s *side, i int) error {
		_, err := s.pods.Get(ctx, benchPod(i%preparedGets).Name, metav1.GetOptions{})
		return err
	}))
	b.Run("list/json", api.reads(1, 5, func(ctx context.Context, s *side, _ int) error { return s.list(ctx, s.pods, 0) }))
	b.Run("list/protobuf", api.reads(1, 5, func(ctx context.Context, s *side, _ int) error { return s.list(ctx, s.binary, 0) }))
	b.Run("list/paged", api.reads(1, 5, func(ctx context.Context, s *side, _ int) error { return s.list(ctx, s.pods, 500) }))
	b.Run("watch", api.fanOut)
	api.writes(b, "status", func(i int) error {
		_, err := api.ours.pods.Patch(b.Context(), benchPod(i).Name, types.StrategicMergePatchType,
			[]byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
		return err
	})
	api.writes(b, "delete", func(i int) error {
		return api.ours.pods.Delete(b.Context(), benchPod(i).Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	})
	api.writes(b, "services", func(i int) error {
		_, err := api.ours.client.CoreV1().Services(benchNamespace).Create(b.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i)},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		return err
	})
	api.memory(b)
}

const (
	benchNamespace = "bench"
	benchPods      = 2000
	benchWorkers   = 16
	preparedGets   = 100 // this many Pods can be read from both servers
)

func benchPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%05d", i), Labels: map[string]string{"app": "a"}},
		Spec: corev1.PodSpec{NodeName: "bench-node", AutomountServiceAccountToken: new(bool), Containers: []corev1.Container{{
			Name: "web", Image: "nginx", Ports: []corev1.ContainerPort{{ContainerPort: 80}},
		}}},
	}
}

// writes measures something that is done once to each Pod, by our server alone.
func (a *apiBench) writes(b *testing.B, name string, f func(i int) error) {
	b.Run(name, func(b *testing.B) {
		if b.N > 1 {
			b.Skip("needs -benchtime 1x")
		}
		cpu := a.ours.cpu(b)
		took, each := atOnce(b, benchWorkers, benchPods, f)
		cpu = a.ours.cpu(b) - cpu
		b.ReportMetric(benchPods/took.Seconds(), "op/s")
		b.ReportMetric(float64(cpu.Microseconds())/benchPods, "server-µs/op")
		b.ReportMetric(milliseconds(quantile(each, .5)), "p50-ms")
		b.ReportMetric(milliseconds(quantile(each, .99)), "p99-ms")
		b.ReportMetric(0, "ns/op")
	})
}

// atOnce calls f for 0 to n-1 from several goroutines, and says how long that took and
// how long each call did.
func atOnce(b *testing.B, workers, n int, f func(i int) error) (took time.Duration, each []time.Duration) {
	b.Helper()
	each = make([]time.Duration, n)
	var next atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
				each[i] = time.Since(start)
			}
		})
	}
	all.Wait()
	return time.Since(start), each
}

func quantile(took []time.Duration, q float64) time.Duration {
	slices.Sort(took)
	return took[int(q*float64(len(took)-1))]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// memory reports what the server occupies after all of that.
func (a *apiBench) memory(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.ours.pid))
		if err != nil {
			b.Fatal(err)
		}
		for _, line := range bytes.Split(status, []byte("\n")) {
			var name string
			var kilobytes float64
			if _, err := fmt.Sscan(string(line), &name, &kilobytes); err == nil && (name == "VmRSS:" || name == "RssAnon:") {
				b.ReportMetric(kilobytes/1024, "MB-"+name[:len(name)-1])
			}
		}
		b.ReportMetric(0, "ns/op")
	})
}
