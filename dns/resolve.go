package dns

import (
	"context"

	"github.com/miekg/dns"
)

// resolve answers from the index, or sees that an upstream is asked.
func (s *Server) resolve(q *query, m *dns.Msg) (reply []byte, later func(context.Context) []byte) {
	var a answer
	s.index.read(func(v *view) { a = s.resolver.answer(v, q.msg.Question[0]) })
	forward := func(ctx context.Context) []byte { return s.forward(ctx, q, m) }
	switch {
	case a.zone == "" && s.forwarder.enabled():
		return nil, forward
	case a.zone == "":
		return s.finish(q, s.outside(q, m), ""), nil
	case a.rcode == dns.RcodeRefused:
		m.Rcode = a.rcode
		return s.finish(q, m, "kubernetes"), nil
	case !s.isReady():
		return s.finish(q, s.unsynced(q, m, a.zone), "kubernetes"), nil
	case s.fallsThrough(&a) && s.forwarder.enabled():
		return nil, forward
	}
	m.Authoritative, m.Rcode, m.Answer, m.Extra = true, a.rcode, a.records, a.extra
	if a.soa != nil {
		m.Ns = []dns.RR{a.soa}
	}
	if a.chase != "" && s.forwarder.enabled() {
		return nil, func(ctx context.Context) []byte { return s.chase(ctx, q, m, a.chase) }
	}
	return s.finish(q, m, "kubernetes"), nil
}

// unsynced fails, while not everything in the cluster has been heard of: an answer of
// half a list, or that a name is not there, would be kept by who asked.
func (s *Server) unsynced(q *query, m *dns.Msg, zone string) *dns.Msg {
	m.Rcode = dns.RcodeServerFailure
	m.Ns = []dns.RR{s.negative(zone)}
	q.explain(m, dns.ExtendedErrorCodeNotReady, "still waiting for the cluster's API")
	return m
}

// fallsThrough reports whether an upstream may know better: an address that is not the
// cluster's has perhaps a name elsewhere.
func (s *Server) fallsThrough(a *answer) bool {
	return a.rcode == dns.RcodeNameError && fqdn(a.zone) != s.resolver.domain
}

// outside says of a name outside the cluster, where there is no upstream, that it does
// not exist.
//
// Kubernetes: CoreDNS fails (SERVFAIL), and resolvers try again for seconds. REFUSED would
// be the strict answer, but musl's resolver takes it for a lost packet; to this one all
// agree at once. It is true as well: from here, that is all the world there is.
func (s *Server) outside(q *query, m *dns.Msg) *dns.Msg {
	if q.msg.Question[0].Name != "." {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{s.negative(".")}
	q.explain(m, dns.ExtendedErrorCodeNotAuthoritative, "not a name of the cluster, and no upstream is configured")
	return m
}

// negative is the SOA record of a negative answer that is not the resolver's.
func (s *Server) negative(zone string) *dns.SOA {
	var soa *dns.SOA
	s.index.read(func(v *view) { soa = s.resolver.soa(v, zone) })
	if zone == "." {
		soa.Ns, soa.Mbox = s.resolver.nsName(), "hostmaster."+s.resolver.domain
	}
	return soa
}

// forward has an upstream answer.
func (s *Server) forward(ctx context.Context, q *query, m *dns.Msg) []byte {
	reply, err := s.forwarder.exchange(ctx, q.proto, &q.msg)
	if err != nil {
		s.log.Warn("forward DNS query", "name", q.msg.Question[0].Name, "error", err)
		m.Rcode = dns.RcodeServerFailure
		q.explain(m, dns.ExtendedErrorCodeNetworkError, "no upstream answered")
		return s.finish(q, m, "forward")
	}
	reply.Id = q.msg.Id
	return s.finish(q, reply, "forward")
}

// chase follows a CNAME to a name outside. Without an answer from there the CNAME is
// still true, and all there is to say.
func (s *Server) chase(ctx context.Context, q *query, m *dns.Msg, target string) []byte {
	ask := new(dns.Msg).SetQuestion(target, q.msg.Question[0].Qtype)
	if q.opt != nil {
		ask.SetEdns0(q.opt.UDPSize(), q.opt.Do())
	}
	reply, err := s.forwarder.exchange(ctx, q.proto, ask)
	if err != nil {
		s.log.Warn("forward DNS query", "name", target, "error", err)
		return s.finish(q, m, "kubernetes")
	}
	m.Answer = append(m.Answer, reply.Answer...)
	m.Truncated = reply.Truncated
	return s.finish(q, m, "kubernetes")
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
