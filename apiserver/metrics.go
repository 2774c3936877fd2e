package apiserver

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orrery.example.org/apiserver/auth"
)

// metrics counts requests under upstream's names, in a registry of its own: a
// process may hold several servers.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inflight prometheus.Gauge
	watches  *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total",
			Help: "Counter of apiserver requests broken out for each verb, group, version, resource, scope, component, and HTTP response code.",
		}, []string{"verb", "group", "version", "resource", "subresource", "scope", "component", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_request_duration_seconds",
			Help:    "Response latency distribution in seconds for each verb, group, version, resource, subresource, scope and component.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60},
		}, []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests",
			Help: "Number of requests being served right now, watches included.",
		}),
		watches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_watch_events_total",
			Help: "Number of events sent in watch clients.",
		}, []string{"group", "version", "resource"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.inflight, m.watches,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// begin counts a request in and returns what counts it out.
func (m *metrics) begin() func(a *auth.Attributes, code int, took time.Duration, r *http.Request) {
	m.inflight.Inc()
	return func(a *auth.Attributes, code int, took time.Duration, r *http.Request) {
		m.inflight.Dec()
		verb := metricVerb(a, r)
		labels := []string{verb, a.Group, a.Version, a.Resource, a.Subresource, scope(a), "apiserver"}
		m.requests.WithLabelValues(append(labels, strconv.Itoa(code))...).Inc()
		if verb != "WATCH" && verb != "CONNECT" { // how long they last says nothing
			m.duration.WithLabelValues(labels...).Observe(took.Seconds())
		}
	}
}

// metricVerb is upstream's spelling; what isn't a method of the API is "other", so
// that no client can invent label values.
func metricVerb(a *auth.Attributes, r *http.Request) string {
	switch {
	case connects(a.Resource, a.Subresource):
		return "CONNECT"
	case a.Resource == "":
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
			return r.Method
		}
		return "other"
	}
	switch a.Verb {
	case "get":
		return "GET"
	case "list":
		return "LIST"
	case "watch":
		return "WATCH"
	case "create":
		return "POST"
	case "update":
		return "PUT"
	case "patch":
		return "PATCH"
	case "delete":
		return "DELETE"
	case "deletecollection":
		return "DELETECOLLECTION"
	}
	return "other"
}

func scope(a *auth.Attributes) string {
	switch {
	case a.Resource == "":
		return ""
	case a.Name != "" || a.Verb == "create":
		return "resource"
	case a.Namespace != "":
		return "namespace"
	}
	return "cluster"
}
