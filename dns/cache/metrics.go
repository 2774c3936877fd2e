package cache

import "github.com/prometheus/client_golang/prometheus"

// Metrics are those of CoreDNS's cache plugin, by name and labels.
type Metrics struct {
	requests, misses prometheus.Counter
	hits, evictions  *prometheus.CounterVec
	entries          *prometheus.GaugeVec
}

// NewMetrics registers the metrics of a server's cache, each with the server's labels.
func NewMetrics(registry prometheus.Registerer, server prometheus.Labels) *Metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "coredns_cache_" + name, Help: help, ConstLabels: server}
	}
	byType := []string{"type"}
	m := &Metrics{
		requests:  prometheus.NewCounter(counter("requests_total", "Queries that the cache was asked for.")),
		misses:    prometheus.NewCounter(counter("misses_total", "Of those, the ones it knew no reply to.")),
		hits:      prometheus.NewCounterVec(counter("hits_total", "Of those, the ones it knew the reply to."), byType),
		evictions: prometheus.NewCounterVec(counter("evictions_total", "Replies forgotten before their time."), byType),
		entries:   prometheus.NewGaugeVec(prometheus.GaugeOpts(counter("entries", "Replies that are kept.")), byType),
	}
	registry.MustRegister(m.requests, m.misses, m.hits, m.evictions, m.entries)
	m.empty()
	return m
}

func (m *Metrics) asked(hit, denial bool) {
	m.requests.Inc()
	if hit {
		m.hits.WithLabelValues(sort(denial)).Inc()
	} else {
		m.misses.Inc()
	}
}

func (m *Metrics) evicted(denial bool)      { m.evictions.WithLabelValues(sort(denial)).Inc() }
func (m *Metrics) added(denial bool, n int) { m.entries.WithLabelValues(sort(denial)).Add(float64(n)) }

func (m *Metrics) empty() {
	for _, denial := range []bool{false, true} {
		m.entries.WithLabelValues(sort(denial)).Set(0)
	}
}

// sort is CoreDNS's word for one of its two caches.
func sort(denial bool) string {
	if denial {
		return "denial"
	}
	return "success"
}
