package dns

import (
	"context"

	"github.com/miekg/dns"
)

// What upstreams say about names outside the cluster, and what the server says of them
// where there are no upstreams.

// ask asks an upstream for a name on behalf of a query: at once where the cache knows the
// reply, else later. then makes of it the reply to the client.
func (s *Server) ask(q *query, set *settings, name string, then func(*dns.Msg, error) []byte) (reply []byte, later func(context.Context) []byte) {
	q.replies = nil // what upstreams say is the cache's, which knows for how long
	query := new(dns.Msg).SetQuestion(name, q.msg.Question[0].Qtype)
	query.RecursionDesired, query.CheckingDisabled = q.msg.RecursionDesired, q.msg.CheckingDisabled
	if q.opt != nil {
		query.SetEdns0(q.opt.UDPSize(), q.opt.Do())
	}
	if known := s.cache.Get(query); known != nil {
		return then(known, nil), nil
	}
	return nil, func(ctx context.Context) []byte {
		reply, err := set.forwarder.Exchange(ctx, q.proto, query)
		if err != nil {
			s.log.Warn("forward DNS query", "name", name, "error", err)
		} else {
			s.cache.Put(query, reply)
		}
		return then(reply, err)
	}
}

// forward has an upstream answer.
func (s *Server) forward(q *query, m *dns.Msg, set *settings) ([]byte, func(context.Context) []byte) {
	return s.ask(q, set, q.msg.Question[0].Name, func(reply *dns.Msg, err error) []byte {
		if err != nil {
			m.Rcode = dns.RcodeServerFailure
			q.explain(m, dns.ExtendedErrorCodeNetworkError, "no upstream answered")
			return s.finish(q, m, "forward")
		}
		reply.Id, reply.Question = q.msg.Id, q.msg.Question
		return s.finish(q, reply, "forward")
	})
}

// chase follows a CNAME to a name outside. Without an answer from there the CNAME is
// still true, and all there is to say.
func (s *Server) chase(q *query, m *dns.Msg, set *settings, target string) ([]byte, func(context.Context) []byte) {
	return s.ask(q, set, target, func(reply *dns.Msg, err error) []byte {
		if err == nil {
			m.Answer = append(m.Answer, reply.Answer...)
			m.Truncated = reply.Truncated
		}
		return s.finish(q, m, "kubernetes")
	})
}

// searchOutside ends a search list outside of the cluster. Where there is nothing either,
// the reply is what it was: the first name of the list does not exist.
func (s *Server) searchOutside(q *query, m *dns.Msg, set *settings, name string) ([]byte, func(context.Context) []byte) {
	return s.ask(q, set, name, func(reply *dns.Msg, err error) []byte {
		if err != nil || reply.Rcode != dns.RcodeSuccess {
			return s.finish(q, m, "kubernetes")
		}
		s.metrics.autopath.Inc()
		r := &set.resolver
		m.Rcode, m.Authoritative, m.RecursionAvailable, m.Truncated = dns.RcodeSuccess, false, reply.RecursionAvailable, reply.Truncated
		m.Answer = append([]dns.RR{r.cname(q.msg.Question[0].Name, name)}, reply.Answer...)
		m.Ns = nil
		if len(reply.Answer) == 0 {
			m.Ns = reply.Ns
		}
		for _, rr := range m.Ns { // a denial holds only while the cluster has no such name itself
			rr.Header().Ttl = min(rr.Header().Ttl, r.ttl)
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Minttl = min(soa.Minttl, r.ttl)
			}
		}
		return s.finish(q, m, "autopath")
	})
}

// outside says of a name outside the cluster, where there is no upstream, that it does
// not exist.
//
// Kubernetes: CoreDNS fails (SERVFAIL), and resolvers try again for seconds. REFUSED would
// be the strict answer, but musl's resolver takes it for a lost packet; to this one all
// agree at once. It is true as well: from here, that is all the world there is.
func (s *Server) outside(q *query, m *dns.Msg, r *resolver) *dns.Msg {
	if q.msg.Question[0].Name != "." {
		m.Rcode = dns.RcodeNameError
	}
	soa := s.negative(r, ".")
	soa.Ns, soa.Mbox = r.nsName(), "hostmaster."+r.domain
	m.Ns = []dns.RR{soa}
	q.explain(m, dns.ExtendedErrorCodeNotAuthoritative, "not a name of the cluster, and no upstream is configured")
	return m
}

// negative is the SOA record of a negative answer that is not the resolver's.
func (s *Server) negative(r *resolver, zone string) (soa *dns.SOA) {
	s.index.read(func(v *view) { soa = r.soa(v, zone) })
	return soa
}

// explain adds the reason of an error for who looks closely: dig prints it.
func (q *query) explain(m *dns.Msg, code uint16, text string) {
	if q.opt == nil {
		return
	}
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: code, ExtraText: text}}
	m.Extra = append(m.Extra, opt)
}
