package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"orrery.example.org/host"
)

// forwarder asks upstream resolvers on behalf of clients.
type forwarder struct {
	host      *host.Host
	upstreams []string      // addresses with ports, in order of preference
	slots     chan struct{} // one for each query under way
}

const (
	maxForwards     = 1000
	upstreamTimeout = 2 * time.Second // for one upstream, as CoreDNS's forward plugin waits
)

func newForwarder(h *host.Host, upstreams []string) *forwarder {
	f := &forwarder{host: h, slots: make(chan struct{}, maxForwards)}
	for _, upstream := range upstreams {
		if address, err := upstreamAddress(upstream); err == nil { // validate has seen them all
			f.upstreams = append(f.upstreams, address)
		}
	}
	return f
}

// upstreamAddress completes an upstream to address and port.
func upstreamAddress(upstream string) (string, error) {
	if addr, err := netip.ParseAddr(upstream); err == nil {
		return net.JoinHostPort(addr.String(), "53"), nil
	}
	addrPort, err := netip.ParseAddrPort(upstream)
	if err != nil {
		return "", fmt.Errorf("%q is neither an IP address nor IP:port", upstream)
	}
	return addrPort.String(), nil
}

func (f *forwarder) enabled() bool { return len(f.upstreams) > 0 }

// exchange asks the upstreams one after the other, by the client's own protocol: a
// truncated reply goes back truncated, and the client returns by TCP.
func (f *forwarder) exchange(ctx context.Context, proto string, query *dns.Msg) (*dns.Msg, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil, fmt.Errorf("%d queries are waiting for upstreams already", maxForwards)
	}
	ask := query.Copy()
	ask.Id = dns.Id() // the client's could be guessed from outside
	var errs []error
	for _, upstream := range f.upstreams {
		reply, err := f.ask(ctx, proto, upstream, ask)
		if err == nil {
			return reply, nil
		}
		errs = append(errs, fmt.Errorf("upstream %s: %w", upstream, err))
	}
	return nil, errors.Join(errs...)
}

// ask sends one query to one upstream.
func (f *forwarder) ask(ctx context.Context, proto, upstream string, query *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamTimeout)
	defer cancel()
	conn, err := f.host.Dial(ctx, proto, upstream)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	reply, _, err := (&dns.Client{Net: proto, Timeout: upstreamTimeout}).ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn})
	if err != nil {
		return nil, err
	}
	if len(reply.Question) != 1 || !sameQuestion(reply.Question[0], query.Question[0]) {
		return nil, errors.New("reply to a question that was not asked")
	}
	return reply, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
