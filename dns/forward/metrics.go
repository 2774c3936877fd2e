package forward

import (
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of CoreDNS's forward plugin, by name and labels.
type Metrics struct {
	rejects, broken prometheus.Counter
	duration        *prometheus.HistogramVec
	failures        *prometheus.CounterVec
}

// proxyName is CoreDNS's word for who forwards.
const proxyName = "forward"

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		rejects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "coredns_forward_max_concurrent_rejects_total", Help: "Queries not forwarded, because too many were under way."}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "coredns_forward_healthcheck_broken_total", Help: "Queries not forwarded, because every upstream was down."}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coredns_proxy_request_duration_seconds", Help: "Time until an upstream replied.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16)}, []string{"proxy_name", "to", "rcode"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coredns_proxy_healthcheck_failures_total", Help: "Probes that an upstream did not reply to."}, []string{"proxy_name", "to"}),
	}
	registry.MustRegister(m.rejects, m.broken, m.duration, m.failures)
	return m
}

func (m *Metrics) replied(upstream string, rcode int, took time.Duration) {
	name, known := dns.RcodeToString[rcode]
	if !known {
		name = "other"
	}
	m.duration.WithLabelValues(proxyName, upstream, name).Observe(took.Seconds())
}
