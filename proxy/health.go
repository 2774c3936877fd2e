package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/proxy/plan"
)

// health answers /healthz and /livez (P50). A proxy is live while no update waits for
// longer than two sync periods. It is healthy if moreover its node may receive traffic:
// load balancers take the node out of service when it is about to be deleted.
type health struct {
	grace   time.Duration
	metrics *metrics

	mu       sync.Mutex
	families map[plan.Family]*familyHealth
	eligible bool // false until the node is seen
}

type familyHealth struct {
	updated time.Time
	pending time.Time // since when an update waits; zero: none does
}

// healthReport is the body of /healthz and, without nodeEligible, of /livez.
type healthReport struct {
	LastUpdated  time.Time                    `json:"lastUpdated,omitzero"`
	Healthy      bool                         `json:"healthy"`
	Status       map[plan.Family]familyReport `json:"status,omitempty"`
	NodeEligible *bool                        `json:"nodeEligible,omitempty"`
	CurrentTime  time.Time                    `json:"currentTime"`
}

type familyReport struct {
	LastUpdated time.Time `json:"lastUpdated,omitzero"`
	Healthy     bool      `json:"healthy"`
}

func newHealth(cfg Config, m *metrics) *health {
	h := &health{grace: 2 * cfg.SyncPeriod, metrics: m, families: map[plan.Family]*familyHealth{}}
	for _, f := range cfg.IPFamilies {
		// A proxy that never gets to its first sync is to become unhealthy as well.
		h.families[plan.Family(f)] = &familyHealth{pending: time.Now()}
	}
	return h
}

// pending notes that an update waits for its effect since the given time.
func (h *health) pending(f plan.Family, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since.IsZero() {
		since = time.Now()
	}
	if h.families[f].pending.IsZero() {
		h.families[f].pending = since
	}
	h.metrics.lastQueued.WithLabelValues(string(f)).Set(float64(since.UnixNano()) / 1e9)
}

// updated notes that the kernel holds all that was asked for.
func (h *health) updated(f plan.Family) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*h.families[f] = familyHealth{updated: time.Now()}
}

// toBeDeleted is the cluster autoscaler's announcement that the node will go.
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// nodeSeen notes whether the node may receive new connections from load balancers.
func (h *health) nodeSeen(n *corev1.Node, deleted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eligible = !deleted && n.DeletionTimestamp == nil
	for _, t := range n.Spec.Taints {
		h.eligible = h.eligible && t.Key != toBeDeleted
	}
}

// report is the state of health at the given time.
func (h *health) report(now time.Time) healthReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := healthReport{Healthy: true, CurrentTime: now, Status: map[plan.Family]familyReport{}}
	for name, f := range h.families {
		ok := f.pending.IsZero() || now.Sub(f.pending) <= h.grace
		r.Status[name] = familyReport{f.updated, ok}
		r.Healthy = r.Healthy && ok
		if f.updated.After(r.LastUpdated) {
			r.LastUpdated = f.updated
		}
	}
	eligible := h.eligible
	r.NodeEligible = &eligible
	return r
}

func (h *health) alive() bool { return h.report(time.Now()).Healthy }

func (h *health) serveHealthz(w http.ResponseWriter, _ *http.Request) {
	r := h.report(time.Now())
	h.answer(w, r, r.Healthy && *r.NodeEligible, h.metrics.healthz.WithLabelValues)
}

func (h *health) serveLivez(w http.ResponseWriter, _ *http.Request) {
	r := h.report(time.Now())
	r.NodeEligible = nil
	h.answer(w, r, r.Healthy, h.metrics.livez.WithLabelValues)
}

func (h *health) answer(w http.ResponseWriter, r healthReport, ok bool, count counterOf) {
	code := http.StatusOK
	if !ok {
		code = http.StatusServiceUnavailable
	}
	count(strconv.Itoa(code)).Inc()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(r)
}
