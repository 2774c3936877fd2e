package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"orrery.example.org/proxy/plan"
)

// metrics are kube-proxy's, by its names (P51).
type metrics struct {
	registry *prometheus.Registry

	duration, fullDuration, partialDuration *prometheus.HistogramVec
	networkProgramming                      *prometheus.HistogramVec
	lastSync, lastQueued                    *prometheus.GaugeVec
	failures                                map[string]*prometheus.CounterVec // by mode
	partialFailures                         *prometheus.CounterVec            // iptables only, as the next two
	rulesTotal, rulesLast                   *prometheus.GaugeVec
	noLocalEndpoints                        *prometheus.GaugeVec
	conntrackDeleted                        *prometheus.CounterVec
	healthz, livez                          *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	family := []string{"ip_family"}
	syncBuckets := prometheus.ExponentialBuckets(0.001, 2, 15)
	m.duration = m.histogram("sync_proxy_rules_duration_seconds", "How long a sync took", syncBuckets, family...)
	m.fullDuration = m.histogram("sync_full_proxy_rules_duration_seconds", "How long a full sync took", syncBuckets, family...)
	m.partialDuration = m.histogram("sync_partial_proxy_rules_duration_seconds", "How long a sync of some Services took", syncBuckets, family...)
	m.networkProgramming = m.histogram("network_programming_duration_seconds",
		"From the change of a Pod or Service to its effect in the kernel", programmingBuckets(), family...)
	m.lastSync = m.gauge("sync_proxy_rules_last_timestamp_seconds", "When the last sync succeeded", family...)
	m.lastQueued = m.gauge("sync_proxy_rules_last_queued_timestamp_seconds", "When a sync was last asked for", family...)
	// A metric shows up with its first value, so each mode shows its own only.
	restore := m.counter("sync_proxy_rules_iptables_restore_failures_total", "Failed calls of iptables-restore, and all that stands for them", family...)
	m.failures = map[string]*prometheus.CounterVec{
		ModeIPTables: restore,
		ModeIPVS:     restore,
		ModeNFTables: m.counter("sync_proxy_rules_nftables_sync_failures_total", "Failed syncs", family...),
	}
	m.partialFailures = m.counter("sync_proxy_rules_iptables_partial_restore_failures_total", "Failed syncs of some Services", family...)
	m.rulesTotal = m.gauge("sync_proxy_rules_iptables_total", "Rules of Services in the kernel", "table", "ip_family")
	m.rulesLast = m.gauge("sync_proxy_rules_iptables_last", "Lines written by the last sync", "table", "ip_family")
	m.noLocalEndpoints = m.gauge("sync_proxy_rules_no_local_endpoints_total",
		"Ports with policy Local that have endpoints, but none on this node", "traffic_policy", "ip_family")
	m.conntrackDeleted = m.counter("conntrack_reconciler_deleted_entries_total", "Stale UDP flows removed", family...)
	m.healthz = m.counter("proxy_healthz_total", "Answers of /healthz", "code")
	m.livez = m.counter("proxy_livez_total", "Answers of /livez", "code")
	return m
}

// programmingBuckets are upstream's: quarters of a second, seconds, then up to 5 minutes.
func programmingBuckets() []float64 {
	b := []float64{0.25, 0.5}
	for s := 1.0; s < 60; s++ {
		b = append(b, s)
	}
	return append(b, 60, 65, 70, 75, 80, 85, 90, 95, 100, 105, 110, 115, 120, 180, 240, 300)
}

func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "kubeproxy", Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(v)
	return v
}

func (m *metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "kubeproxy", Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

func (m *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kubeproxy", Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

// synced records one attempt of a sync.
func (m *metrics) synced(f *family, full bool, took time.Duration, r plan.Report, err error) {
	name, kind := string(f.name), m.partialDuration
	if full {
		kind = m.fullDuration
	}
	m.duration.WithLabelValues(name).Observe(took.Seconds())
	kind.WithLabelValues(name).Observe(took.Seconds())
	if err != nil {
		if failures := m.failures[f.mode.name]; failures != nil {
			failures.WithLabelValues(name).Inc()
		}
		if !full && f.mode.name == ModeIPTables {
			m.partialFailures.WithLabelValues(name).Inc()
		}
		return
	}
	m.lastSync.WithLabelValues(name).SetToCurrentTime()
	if f.mode.name != ModeIPTables {
		return
	}
	for _, table := range []string{"nat", "filter"} {
		m.rulesTotal.WithLabelValues(table, name).Set(float64(r.Total[table]))
		m.rulesLast.WithLabelValues(table, name).Set(float64(r.Written[table]))
	}
}

// forget drops what was true of a mode that was left: its rules are gone.
func (m *metrics) forget(mode string) {
	if mode == ModeIPTables {
		m.rulesTotal.Reset()
		m.rulesLast.Reset()
	}
}

// programmed records what a successful sync means to users: how long a change took to
// reach the kernel, and which ports this node has to drop.
func (m *metrics) programmed(f plan.Family, triggers []time.Time, plans map[plan.Name]*plan.Service) {
	for _, t := range triggers {
		m.networkProgramming.WithLabelValues(string(f)).Observe(time.Since(t).Seconds())
	}
	internal, external := 0, 0
	for _, svc := range plans {
		for i := range svc.Ports {
			p := &svc.Ports[i]
			if !p.UsesLocal() || !p.HasEndpoints || len(p.LocalEndpoints()) > 0 {
				continue
			}
			if p.InternalLocal {
				internal++
			}
			if p.ExternalLocal {
				external++
			}
		}
	}
	m.noLocalEndpoints.WithLabelValues("internal", string(f)).Set(float64(internal))
	m.noLocalEndpoints.WithLabelValues("external", string(f)).Set(float64(external))
}
