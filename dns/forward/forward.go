// Package forward asks other resolvers on behalf of clients: the part of CoreDNS's
// forward plugin, and of its loop plugin. In flows a query for a name outside the
// cluster, out flows the reply of one of the upstreams that are responsible for it.
//
//	forward.go    which upstreams a name has, and one after the other until one replies
//	upstream.go   one of them: asking it, and whether it is worth asking
//	resolvconf.go the upstreams that the machine itself asks
//
// Left out: DNS over TLS, connections that are kept, other policies than a random order.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"orrery.example.org/host"
)

// Route says who is asked for the names of a zone, by IP:port.
type Route struct {
	Zone      string // "." for everything
	Upstreams []string
}

// Forwarder knows the upstreams.
type Forwarder struct {
	routes    []route // the longest zone first
	upstreams []*upstream
	slots     chan struct{} // one for each query under way
	metrics   *Metrics
}

type route struct {
	zone      string
	upstreams []*upstream
}

const (
	maxForwards = 1000
	// deadline bounds the wait for all upstreams together: a client asks again by then.
	deadline = 5 * time.Second
)

// New makes a forwarder. One upstream may be responsible for several zones.
func New(h *host.Host, routes []Route, metrics *Metrics, log *slog.Logger) *Forwarder {
	f := &Forwarder{slots: make(chan struct{}, maxForwards), metrics: metrics}
	known := map[string]*upstream{}
	for _, r := range routes {
		this := route{zone: dns.Fqdn(strings.ToLower(r.Zone))}
		for _, address := range r.Upstreams {
			if known[address] == nil {
				known[address] = newUpstream(h, address, metrics, log)
				f.upstreams = append(f.upstreams, known[address])
			}
			this.upstreams = append(this.upstreams, known[address])
		}
		if len(this.upstreams) > 0 {
			f.routes = append(f.routes, this)
		}
	}
	slices.SortStableFunc(f.routes, func(a, b route) int { return dns.CountLabel(b.zone) - dns.CountLabel(a.zone) })
	return f
}

// Run watches over the upstreams' health until ctx ends.
func (f *Forwarder) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, u := range f.upstreams {
		wg.Go(func() { u.watch(ctx) })
	}
	wg.Wait()
}

// Zone finds the longest zone with upstreams that a name is in, "" if there is none.
func (f *Forwarder) Zone(name string) string {
	if r := f.route(name); r != nil {
		return r.zone
	}
	return ""
}

func (f *Forwarder) route(name string) *route {
	name = strings.ToLower(name)
	i := slices.IndexFunc(f.routes, func(r route) bool { return dns.IsSubDomain(r.zone, name) })
	if i < 0 {
		return nil
	}
	return &f.routes[i]
}

// ErrNone means that no upstream of a name is worth asking at present.
var ErrNone = errors.New("no upstream is healthy")

// Exchange asks the upstreams of the query's name in random order until one replies, by
// the client's own protocol: a truncated reply goes back truncated, and the client
// returns by TCP.
//
// Kubernetes: where all upstreams are down CoreDNS asks one of them nevertheless, and the
// client waits. Here it is told at once; a probe every half a second finds out when one is back.
func (f *Forwarder) Exchange(ctx context.Context, proto string, query *dns.Msg) (*dns.Msg, error) {
	r := f.route(query.Question[0].Name)
	if r == nil {
		return nil, fmt.Errorf("no upstream for %s", query.Question[0].Name)
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		f.metrics.rejects.Inc()
		return nil, fmt.Errorf("%d queries are waiting for upstreams already", maxForwards)
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	errs := []error{}
	for _, i := range rand.Perm(len(r.upstreams)) {
		u := r.upstreams[i]
		if u.down() {
			continue
		}
		reply, err := u.exchange(ctx, proto, query)
		if err == nil {
			return reply, nil
		}
		errs = append(errs, fmt.Errorf("upstream %s: %w", u.address, err))
	}
	if len(errs) == 0 {
		f.metrics.broken.Inc()
		return nil, ErrNone
	}
	return nil, errors.Join(errs...)
}

// SeesItself takes note if a question is a probe of ours: whoever it was sent to leads
// back to us.
func (f *Forwarder) SeesItself(q dns.Question) bool {
	if q.Qtype != dns.TypeHINFO {
		return false
	}
	for _, u := range f.upstreams {
		if strings.EqualFold(q.Name, u.probeName) {
			u.seen.Store(true)
			u.loops.Store(true)
			return true
		}
	}
	return false
}
