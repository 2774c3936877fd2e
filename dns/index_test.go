package dns

import (
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkMemory reports what the index takes of a large cluster.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		s := readyServer(b)
		v := s.index.view
		before := heap()
		for i := range 10_000 {
			name := fmt.Sprintf("service-%d", i)
			v.setService(key{"testns", name}, nil, compactService(svc("testns", name, fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), "http/TCP/80")))
			var endpoints []string
			for j := range 5 {
				endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d", 128+j, i/250, i%250+1))
			}
			v.setSlice(key{"testns", name + "-1"}, nil, compactSlice(epSlice("testns/"+name, name+"-1", "http/TCP/80", endpoints...)))
		}
		b.ReportMetric(float64(heap()-before)/(1<<20), "MB")
		runtime.KeepAlive(s)
	}
}

// heap is what is in use after everything unused is freed.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
