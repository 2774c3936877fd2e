package performance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"orrery.example.org/lab"
)

// BenchmarkScale makes Pods by the thousand, in a lab of its own:
//
//	scripts/build && go test -run '^$' -bench Scale -benchtime 1x ./test/performance
func BenchmarkScale(b *testing.B) {
	for _, row := range []struct {
		name        string
		nodes, fake int
		pods        int
		service     bool // that selects all of them
	}{
		{"real-nodes", 10, 0, 1000, false},
		{"fake-nodes", 3, 100, 5000, true},
	} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				measureScale(b, row.nodes, row.fake, row.pods, row.service)
			}
		})
	}
}

// measureScale reports how long a Deployment of so many Pods takes from its creation until
// all are Ready, and what the cluster is like meanwhile.
func measureScale(b *testing.B, nodes, fake, pods int, service bool) {
	b.Setenv("XDG_STATE_HOME", b.TempDir())
	run(b, "up", "--name", "bench", "--api-port", "0", "--nodes", fmt.Sprint(nodes), "--fake-nodes", fmt.Sprint(fake))
	defer run(b, "down", "--name", "bench", "--purge")
	config, err := clientcmd.BuildConfigFromFlags("", strings.TrimSpace(run(b, "kubeconfig", "--name", "bench")))
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithTimeout(b.Context(), 3*time.Minute)
	defer cancel()
	if fake > 0 { // a real node's processes would be the measure of nothing
		run(b, "cordon", "node1", "node2", "node3", "--kubeconfig", strings.TrimSpace(run(b, "kubeconfig", "--name", "bench")))
	}
	idle := labOf(b)

	begin := time.Now()
	watched := watchScale(ctx, b, client, pods, service, begin)
	probed := probeAPI(ctx, client)
	createScale(ctx, b, client, int32(pods), service)
	seen := watched()
	each := probed()

	b.ReportMetric(seen.ready.Seconds(), "s-until-all-Ready")
	b.ReportMetric(float64(pods)/(seen.lastBound-seen.firstBound).Seconds(), "Pods-scheduled/s")
	if service {
		b.ReportMetric(milliseconds(max(0, seen.inSlices-seen.ready)), "ms-until-in-slices")
	}
	b.ReportMetric(milliseconds(quantile(each, 0.5)), "ms-API-p50")
	b.ReportMetric(milliseconds(quantile(each, 0.99)), "ms-API-p99")
	time.Sleep(5 * time.Second) // events are still being written
	busy := labOf(b)
	b.ReportMetric(float64(busy.memory-idle.memory)/float64(pods)/1024, "KB-resident/Pod")
	b.ReportMetric(milliseconds(busy.cpu-idle.cpu)/float64(pods), "ms-CPU/Pod")
}

// scale is when, since the creation of the Deployment.
type scale struct {
	firstBound, lastBound, ready, inSlices time.Duration
}

// watchScale watches Pods and slices until all Pods are Ready and in slices.
func watchScale(ctx context.Context, b *testing.B, client kubernetes.Interface, pods int, service bool, begin time.Time) (wait func() scale) {
	var s scale
	var both sync.WaitGroup
	podEvents, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	sliceEvents, err := client.DiscoveryV1().EndpointSlices("default").Watch(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=scale"})
	if err != nil {
		b.Fatal(err)
	}
	both.Go(func() {
		defer podEvents.Stop()
		bound, ready := map[string]bool{}, map[string]bool{}
		for e := range podEvents.ResultChan() {
			pod, ok := e.Object.(*corev1.Pod)
			if !ok {
				return
			}
			if pod.Spec.NodeName != "" && !bound[pod.Name] {
				bound[pod.Name] = true
				s.lastBound = time.Since(begin)
				if len(bound) == 1 {
					s.firstBound = s.lastBound
				}
			}
			if isReady(pod) {
				ready[pod.Name] = true
			}
			if len(ready) == pods {
				s.ready = time.Since(begin)
				return
			}
		}
	})
	both.Go(func() {
		defer sliceEvents.Stop()
		counts, total := map[string]int{}, 0
		for service {
			e, more := <-sliceEvents.ResultChan()
			if !more {
				return
			}
			slice, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				return
			}
			count := 0
			for _, endpoint := range slice.Endpoints {
				if ptr.Deref(endpoint.Conditions.Ready, false) {
					count++
				}
			}
			total += count - counts[slice.Name]
			if counts[slice.Name] = count; total == pods {
				s.inSlices = time.Since(begin)
				return
			}
		}
	})
	return func() scale {
		both.Wait()
		if s.ready == 0 || service && s.inSlices == 0 {
			b.Fatalf("not all Pods became Ready and endpoints: %+v, %v", s, ctx.Err())
		}
		return s
	}
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// probeAPI reads a small object a hundred times a second, until it is stopped.
func probeAPI(ctx context.Context, client kubernetes.Interface) (stop func() []time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	var took []time.Duration
	var probing sync.WaitGroup
	probing.Go(func() {
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			begin := time.Now()
			if _, err := client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{}); err == nil {
				took = append(took, time.Since(begin))
			}
		}
	})
	return func() []time.Duration {
		cancel()
		probing.Wait()
		return took
	}
}

func createScale(ctx context.Context, b *testing.B, client kubernetes.Interface, pods int32, service bool) {
	labels := map[string]string{"app": "scale"}
	if service {
		_, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "scale"},
			Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80)}}},
		}, metav1.CreateOptions{})
		if err != nil {
			b.Fatal(err)
		}
	}
	_, err := client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "scale"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &pods, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
}

// usage is what the lab's process takes.
type usage struct {
	memory int64 // resident, in bytes
	cpu    time.Duration
}

func labOf(b *testing.B) usage {
	b.Helper()
	var status lab.Status
	if err := json.Unmarshal([]byte(run(b, "status", "--name", "bench", "-o", "json")), &status); err != nil {
		b.Fatal(err)
	}
	return usage{status.ResidentBytes, cpuOf(b, status.PID)}
}
