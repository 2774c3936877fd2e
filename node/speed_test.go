package node

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	"orrery.example.org/pki"
)

// sorts are the two sorts of containers there are.
var sorts = []struct {
	name, image string
	change      func(*corev1.PodSpec)
}{
	{"built-in", "nginx", func(*corev1.PodSpec) {}},
	{"process", "busybox", command("sleep", "1000")},
}

// BenchmarkPod measures from a Pod's creation to the write of its Ready condition,
// with an API that costs nothing: what the agent adds.
func BenchmarkPod(b *testing.B) {
	for _, row := range sorts {
		b.Run(row.name, func(b *testing.B) {
			c := startCluster(b, "node1")
			changes, err := c.api.CoreV1().Pods("default").Watch(c.ctx, metav1.ListOptions{})
			must(b, err)
			defer changes.Stop()
			ready := make(chan string, 100)
			go func() {
				defer close(ready)
				for e := range changes.ResultChan() { // without a pause: the fake's buffer is small
					if p := e.Object.(*corev1.Pod); condition(p, corev1.PodReady) == corev1.ConditionTrue && p.DeletionTimestamp == nil {
						ready <- p.Name
					}
				}
			}()
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				name := fmt.Sprintf("pod-%d", i)
				begin := time.Now()
				c.pod("node1", name, row.image, row.change)
				for got := range ready {
					if got == name {
						break
					}
				}
				took = append(took, time.Since(begin))
				b.StopTimer()
				c.delete(name, 0)
				c.awaitGone(name)
				b.StartTimer()
			}
			reportMedian(b, took)
		})
	}
}

func reportMedian(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
}

// BenchmarkExec measures from the request at the node's port to the program's exit status,
// with a connection for each, as kubectl makes one.
func BenchmarkExec(b *testing.B) {
	for _, row := range sorts {
		b.Run(row.name, func(b *testing.B) {
			c := startCluster(b, "node1")
			c.pod("node1", "target", row.image, row.change)
			c.ready("target")
			config := c.remote("node1", pki.APIServerClient)
			u := nodeURL(config, "/exec/default/target/main", url.Values{"command": {"true"}, "output": {"1"}, "error": {"1"}})
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				executor, err := remotecommand.NewWebSocketExecutor(config, "GET", u.String())
				must(b, err)
				must(b, executor.StreamWithContext(c.ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard}))
				took = append(took, time.Since(begin))
			}
			reportMedian(b, took)
		})
	}
}
