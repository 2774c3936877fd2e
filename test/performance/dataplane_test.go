package performance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/test/machine"
)

const (
	probes = 20 // Services that answer from the start
	flips  = 50 // changes that are timed
)

// BenchmarkDataPlane measures a node's proxy, in a process of its own, beside an API server
// in another, from the write to the packet:
//
//   - cold: from exec until all of the Services that are there answer;
//   - added, removed: from the write of an EndpointSlice until a connection to the ClusterIP
//     is answered, or refused;
//   - created: a thousand Services at once, from the last write until a later one is answered;
//   - rolled: a Service that grows by 500 endpoints, one a write, likewise;
//   - MB: the memory of the proxy after the start and after all of that;
//   - connect: how long a connection takes to the Service where that is shortest and longest.
//
// With KUBE_PROXY=path it runs upstream's kube-proxy instead. One of them, for example:
//
//	go test -run '^$' -bench 'DataPlane/nftables/1000$' -benchtime 1x ./test/performance
func BenchmarkDataPlane(b *testing.B) {
	for _, mode := range []string{"iptables", "nftables"} {
		for _, n := range []int{1000, 5000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", mode, n), func(b *testing.B) {
				for b.Loop() {
					measureProxy(b, mode, n)
				}
			})
		}
	}
}

func measureProxy(b *testing.B, mode string, n int) {
	m := machine.New(b)
	m.Load(0, n, n/probes)
	probe := m.NewProbe("probe")
	report := func(name string, d time.Duration) { b.ReportMetric(float64(d.Microseconds())/1000, name+"-ms") }

	start := time.Now()
	proxy := m.StartProxy(mode)
	for i := range probes {
		m.Until(m.ClusterIP(fmt.Sprint("s", i*n/probes)), true)
	}
	report("cold", time.Since(start))
	proxy.ReportMemory(b, "cold")

	var connect []time.Duration
	for i := range probes {
		took := m.Connect(m.ClusterIP(fmt.Sprint("s", i*n/probes)), 200)
		connect = append(connect, took[len(took)/2])
	}
	b.ReportMetric(float64(slices.Min(connect).Nanoseconds())/1000, "connect-first-µs")
	b.ReportMetric(float64(slices.Max(connect).Nanoseconds())/1000, "connect-last-µs")

	var added, removed []time.Duration
	for range flips {
		added = append(added, probe.Flip(true))
		time.Sleep(50 * time.Millisecond) // each change by itself
		removed = append(removed, probe.Flip(false))
		time.Sleep(50 * time.Millisecond)
	}
	for name, took := range map[string][]time.Duration{"added": added, "removed": removed} {
		slices.Sort(took)
		report(name+"-p50", took[len(took)/2])
		report(name+"-p99", took[len(took)*99/100])
	}

	cpu := proxy.CPU()
	m.Load(n, n+1000, 0)
	report("created", probe.Flip(true))
	report("created-cpu", proxy.CPU()-cpu)
	probe.Flip(false)
	cpu = proxy.CPU()
	roll(m, 500)
	report("rolled", probe.Flip(true))
	report("rolled-cpu", proxy.CPU()-cpu)
	proxy.ReportMemory(b, "end")
}

// roll makes a Service grow, in slices of at most a hundred as the controller writes them.
func roll(m *machine.Machine, endpoints int) {
	m.Create("rolled")
	api := m.Client.DiscoveryV1().EndpointSlices("default")
	var s *discoveryv1.EndpointSlice
	for i := range endpoints {
		var err error
		address := fmt.Sprintf("10.127.%d.%d", i/250, i%250+1)
		if i%100 == 0 {
			s, err = api.Create(m.Context(), machine.Slice(fmt.Sprint("rolled-", i), "rolled", address), metav1.CreateOptions{})
		} else {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
			s, err = api.Update(m.Context(), s, metav1.UpdateOptions{})
		}
		if err != nil {
			m.Fatal(err)
		}
	}
}
