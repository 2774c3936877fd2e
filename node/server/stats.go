package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Summary is what the node and its Pods use. The names are those of kubelet's
// /stats/summary, of which this is the part about processors and memory.
type Summary struct {
	Node NodeStats  `json:"node"`
	Pods []PodStats `json:"pods"`
}

// NodeStats is about the node itself.
type NodeStats struct {
	NodeName string `json:"nodeName"`
	Usage
}

// PodStats is about a Pod.
type PodStats struct {
	Ref        PodRef           `json:"podRef"`
	Start      metav1.Time      `json:"startTime"`
	Containers []ContainerStats `json:"containers"`
	Usage
}

// PodRef says which Pod.
type PodRef struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
}

// ContainerStats is about a container.
type ContainerStats struct {
	Name  string      `json:"name"`
	Start metav1.Time `json:"startTime"`
	Usage
}

// Usage is zero where it is not known.
type Usage struct {
	CPU    *CPUStats    `json:"cpu,omitempty"`
	Memory *MemoryStats `json:"memory,omitempty"`
}

// CPUStats is the time for which processors were busy.
type CPUStats struct {
	Time  time.Time `json:"time"`
	Total uint64    `json:"usageCoreNanoSeconds"`
}

// MemoryStats is the memory that cannot be taken away.
type MemoryStats struct {
	Time       time.Time `json:"time"`
	WorkingSet uint64    `json:"workingSetBytes"`
}

// UsageOf is a known usage.
func UsageOf(now metav1.Time, cpu time.Duration, memory int64) Usage {
	return Usage{&CPUStats{now.Time, uint64(cpu)}, &MemoryStats{now.Time, uint64(memory)}}
}

func (s *Server) serveSummary(w http.ResponseWriter, r *http.Request) {
	summary, err := s.backend.Summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(summary) // fails when the client has left
}

// serveResourceMetrics is the same for Prometheus, in kubelet's words.
func (s *Server) serveResourceMetrics(w http.ResponseWriter, r *http.Request) {
	summary, err := s.backend.Summary(r.Context())
	registry := prometheus.NewRegistry()
	registry.MustRegister(resourceMetrics{summary, err})
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

type resourceMetrics struct {
	*Summary
	err error
}

// Describe implements prometheus.Collector: the metrics say themselves what they are.
func (resourceMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m resourceMetrics) Collect(out chan<- prometheus.Metric) {
	metric := func(name, help string, value float64, labels ...string) { // labels are names and values
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		kind := prometheus.GaugeValue
		if name[max(0, len(name)-6):] == "_total" {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
	}
	usage := func(what string, u Usage, labels ...string) {
		if u.CPU != nil {
			metric(what+"_cpu_usage_seconds_total", "Cumulative cpu time consumed by the "+what+" in core-seconds", time.Duration(u.CPU.Total).Seconds(), labels...)
			metric(what+"_memory_working_set_bytes", "Current working set of the "+what+" in bytes", float64(u.Memory.WorkingSet), labels...)
		}
	}
	if m.err != nil {
		metric("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", 1)
		return
	}
	metric("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", 0)
	usage("node", m.Node.Usage)
	for _, p := range m.Pods {
		usage("pod", p.Usage, "namespace", p.Ref.Namespace, "pod", p.Ref.Name)
		for _, c := range p.Containers {
			labels := []string{"container", c.Name, "namespace", p.Ref.Namespace, "pod", p.Ref.Name}
			usage("container", c.Usage, labels...)
			metric("container_start_time_seconds", "Start time of the container since unix epoch in seconds", float64(c.Start.Unix()), labels...)
		}
	}
}
