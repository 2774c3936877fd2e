package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"orrery.example.org/host"
)

const (
	replyTimeout  = 2 * time.Second        // for one upstream
	probeInterval = 500 * time.Millisecond // while one does not reply
	loopInterval  = 10 * time.Second       // while one leads back to us
	maxFails      = 2                      // in a row; with one more it is down

	// askedSize is how long a reply may be without being cut into fragments on the way.
	askedSize = 1232
)

// upstream is one resolver.
type upstream struct {
	host      *host.Host
	address   string // IP:port
	probeName string // that nobody else asks for
	metrics   *Metrics
	log       *slog.Logger

	fails   atomic.Int32 // in a row
	seen    atomic.Bool  // the last probe came to ourselves
	loops   atomic.Bool  // what we ask it comes back to us
	suspect chan struct{}
}

func newUpstream(h *host.Host, address string, metrics *Metrics, log *slog.Logger) *upstream {
	return &upstream{
		host: h, address: address, metrics: metrics, log: log,
		probeName: fmt.Sprintf("%d.%d.", rand.Int64(), rand.Int64()),
		suspect:   make(chan struct{}, 1),
	}
}

// down reports whether it is not worth asking.
func (u *upstream) down() bool { return u.loops.Load() || u.fails.Load() > maxFails }

// exchange asks it one question, as any resolver asks another: the identifier is ours,
// the client's could be guessed from outside, and so are the EDNS0 options.
func (u *upstream) exchange(ctx context.Context, proto string, query *dns.Msg) (*dns.Msg, error) {
	ask := new(dns.Msg).SetQuestion(query.Question[0].Name, query.Question[0].Qtype)
	ask.RecursionDesired, ask.CheckingDisabled = query.RecursionDesired, query.CheckingDisabled
	opt := query.IsEdns0()
	ask.SetEdns0(askedSize, opt != nil && opt.Do())
	start := time.Now()
	reply, err := u.ask(ctx, proto, ask)
	if err != nil {
		if ctx.Err() == nil { // else it is we who had no more time
			u.failed()
		}
		return nil, err
	}
	u.fails.Store(0)
	u.metrics.replied(u.address, reply.Rcode, time.Since(start))
	if len(reply.Question) != 1 || !sameQuestion(reply.Question[0], ask.Question[0]) {
		return nil, errors.New("reply to a question that was not asked")
	}
	return reply, nil
}

// ask sends one query and waits for the reply.
func (u *upstream) ask(ctx context.Context, proto string, query *dns.Msg) (*dns.Msg, error) {
	timeout, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	conn, err := u.host.Dial(timeout, proto, u.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client := &dns.Client{Net: proto, Timeout: replyTimeout, UDPSize: askedSize}
	reply, _, err := client.ExchangeWithConnContext(timeout, query, &dns.Conn{Conn: conn})
	return reply, err
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// failed counts a failure, and wakes who watches.
func (u *upstream) failed() {
	u.fails.Add(1)
	select {
	case u.suspect <- struct{}{}:
	default: // it is awake
	}
}

// watch probes the upstream: at first, whether it leads back to us, and whenever it has
// failed, until it replies again.
func (u *upstream) watch(ctx context.Context) {
	for {
		wait := u.probe(ctx)
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-u.suspect:
		}
	}
}

// probe asks for a name that nobody but us knows of. Any reply is a sign of life, unless
// we were asked the same meanwhile. It returns when to probe again, 0 for when it fails.
//
// Kubernetes: CoreDNS has two probes: ". NS" for health, while an upstream fails, and a name
// of this kind against loops, when it starts; it ends itself where it sees that come back.
func (u *upstream) probe(ctx context.Context) time.Duration {
	was := u.loops.Load()
	u.seen.Store(false)
	_, err := u.ask(ctx, "udp", new(dns.Msg).SetQuestion(u.probeName, dns.TypeHINFO))
	if ctx.Err() != nil {
		return 0
	}
	if u.seen.Load() {
		if !was {
			u.log.Error("this upstream leads back to us, and is left out", "upstream", u.address)
		}
		return loopInterval
	}
	u.loops.Store(false)
	if err != nil {
		u.metrics.failures.WithLabelValues(proxyName, u.address).Inc()
		if u.fails.Add(1) == maxFails+1 {
			u.log.Warn("upstream is down", "upstream", u.address, "error", err)
		}
		return probeInterval
	}
	if u.fails.Swap(0) > maxFails {
		u.log.Info("upstream is back", "upstream", u.address)
	}
	return 0
}
