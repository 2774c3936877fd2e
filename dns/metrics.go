package dns

import (
	"runtime"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"orrery.example.org/dns/cache"
	"orrery.example.org/dns/forward"
)

// metrics are CoreDNS's, by name and labels, in a registry of this server's own:
// a process may run several.
type metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	responses   *prometheus.CounterVec
	duration    prometheus.Observer
	requestSize *prometheus.HistogramVec
	replySize   *prometheus.HistogramVec
	programming *prometheus.HistogramVec
	panics      prometheus.Counter

	dnssec        prometheus.Counter
	autopath      prometheus.Counter
	reloadsFailed prometheus.Counter
	cache         *cache.Metrics
	forward       *forward.Metrics
}

// newMetrics makes the metrics of a server that listens on an address. All queries are
// counted in the zone ".", as with kubeadm's Corefile, whose one server block has it.
func newMetrics(listen string) *metrics {
	server := prometheus.Labels{"server": "dns://" + listen, "zone": ".", "view": ""}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: server}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: server, Buckets: buckets}, labels)
	}
	sizes := []float64{0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3}

	duration := histogram("coredns_dns_request_duration_seconds", "Time each query took.",
		prometheus.ExponentialBuckets(0.00025, 2, 16))
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		requests:    counter("coredns_dns_requests_total", "Queries, by protocol, address family and type.", "proto", "family", "type"),
		responses:   counter("coredns_dns_responses_total", "Replies, by response code.", "rcode", "plugin"),
		duration:    duration.WithLabelValues(),
		requestSize: histogram("coredns_dns_request_size_bytes", "Size of the queries.", sizes, "proto"),
		replySize:   histogram("coredns_dns_response_size_bytes", "Size of the replies.", sizes, "proto"),
		programming: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "coredns_kubernetes_dns_programming_duration_seconds",
			Help:    "From a change of a Service's Pods until it was in the DNS.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
		}, []string{"service_kind"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "coredns_panics_total", Help: "Panics while answering."}),

		dnssec: prometheus.NewCounter(prometheus.CounterOpts{Name: "coredns_dns_do_requests_total", Help: "Queries with the DNSSEC bit.", ConstLabels: server}),
		autopath: prometheus.NewCounter(prometheus.CounterOpts{Name: "coredns_autopath_success_total",
			Help: "Queries for which a search list was gone to its end outside.", ConstLabels: prometheus.Labels{"server": "dns://" + listen}}),
		reloadsFailed: prometheus.NewCounter(prometheus.CounterOpts{Name: "coredns_reload_failed_total", Help: "Configurations that were not valid."}),
	}
	m.registry.MustRegister(m.requests, m.responses, duration, m.requestSize, m.replySize, m.programming, m.panics,
		m.dnssec, m.autopath, m.reloadsFailed, buildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.cache = cache.NewMetrics(m.registry, prometheus.Labels{"server": "dns://" + listen, "zones": ".", "view": ""})
	m.forward = forward.NewMetrics(m.registry)
	return m
}

// buildInfo says what runs. There is no release of CoreDNS in it, but its dashboards ask.
func buildInfo() prometheus.Collector {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		revision = info.Main.Version
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "coredns_build_info", Help: "A constant 1, labelled by what was built.",
		ConstLabels: prometheus.Labels{"version": "orrery", "revision": revision, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// tally is where one sort of query and its reply are counted.
type tally struct {
	requests, responses    prometheus.Counter
	dnssec                 prometheus.Counter // nil: the query has no such bit
	requestSize, replySize prometheus.Observer
	duration               prometheus.Observer
}

// tally finds the counters of a query and of its reply.
func (m *metrics) tally(q *query, rcode int, plugin string) tally {
	t := tally{
		requests:    m.requests.WithLabelValues(q.proto, q.family(), typeLabel(q.msg.Question[0].Qtype)),
		responses:   m.responses.WithLabelValues(rcodeName(rcode), plugin),
		requestSize: m.requestSize.WithLabelValues(q.proto),
		replySize:   m.replySize.WithLabelValues(q.proto),
		duration:    m.duration,
	}
	if q.opt != nil && q.opt.Do() {
		t.dnssec = m.dnssec
	}
	return t
}

// observe counts one query of so many bytes, which came at start, and its reply.
func (t *tally) observe(query, reply int, start time.Time) {
	t.requests.Inc()
	if t.dnssec != nil {
		t.dnssec.Inc()
	}
	t.requestSize.Observe(float64(query))
	t.responses.Inc()
	t.replySize.Observe(float64(reply))
	t.duration.Observe(time.Since(start).Seconds())
}

// typeLabel is the type asked for. What a client may make up is "other", lest it makes
// up as many time series.
func typeLabel(qtype uint16) string {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeNS,
		dns.TypeSOA, dns.TypeMX, dns.TypeDS, dns.TypeDNSKEY, dns.TypeHTTPS, dns.TypeSVCB,
		dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR:
		return dns.TypeToString[qtype]
	}
	return "other"
}

// observeProgramming measures how long a headless Service's change of Pods took to get
// from the first thing that caused it, which the EndpointSlice's annotation dates, to us.
func (s *Server) observeProgramming(k key, trigger string) {
	changed, err := time.Parse(time.RFC3339Nano, trigger)
	if err != nil || !s.isReady() {
		return
	}
	s.index.read(func(v *view) {
		if svc := v.services[k]; svc != nil && svc.headless {
			s.metrics.programming.WithLabelValues("headless_with_selector").Observe(time.Since(changed).Seconds())
		}
	})
}
