package dns

import (
	"context"

	"github.com/miekg/dns"
)

// resolve answers from the index, or sees that an upstream is asked.
func (s *Server) resolve(q *query, m *dns.Msg) (reply []byte, later func(context.Context) []byte) {
	set, question := s.settings.Load(), q.msg.Question[0]
	var a answer
	var search string // what a Pod's search list leads to outside
	s.index.read(func(v *view) {
		a = set.resolver.answer(v, question)
		if set.cfg.Autopath {
			search = set.resolver.walk(v, question, &a)
		}
	})
	upstreams := set.forwarder.Zone(question.Name) // the zone they are responsible for
	switch {
	case set.forwarder.SeesItself(question):
		m.Rcode = dns.RcodeRefused
		return s.finish(q, m, "loop"), nil
	case upstreams != "" && (a.zone == "" || dns.CountLabel(upstreams) > dns.CountLabel(a.zone)):
		return s.forward(q, m, set)
	case a.zone == "":
		return s.finish(q, s.outside(q, m, &set.resolver), ""), nil
	case a.rcode == dns.RcodeRefused:
		m.Rcode = a.rcode
		return s.finish(q, m, "kubernetes"), nil
	case !s.isReady():
		return s.finish(q, s.unsynced(q, m, &set.resolver, a.zone), "kubernetes"), nil
	case set.fallsThrough(&a) && upstreams != "":
		return s.forward(q, m, set)
	}
	m.Authoritative, m.Rcode, m.Answer, m.Extra = true, a.rcode, a.records, a.extra
	if a.soa != nil {
		m.Ns = []dns.RR{a.soa}
	}
	switch {
	case a.chase != "" && set.forwarder.Zone(a.chase) != "":
		return s.chase(q, m, set, a.chase)
	case search != "" && set.forwarder.Zone(search) != "":
		return s.searchOutside(q, m, set, search)
	}
	return s.finish(q, m, "kubernetes"), nil
}

// unsynced fails, while not everything in the cluster has been heard of: an answer of
// half a list, or that a name is not there, would be kept by who asked.
func (s *Server) unsynced(q *query, m *dns.Msg, r *resolver, zone string) *dns.Msg {
	m.Rcode = dns.RcodeServerFailure
	m.Ns = []dns.RR{s.negative(r, zone)}
	q.explain(m, dns.ExtendedErrorCodeNotReady, "still waiting for the cluster's API")
	return m
}

// fallsThrough reports whether an upstream may know better: an address that is not the
// cluster's has perhaps a name elsewhere.
func (set *settings) fallsThrough(a *answer) bool {
	return a.rcode == dns.RcodeNameError && fqdn(a.zone) != set.resolver.domain
}
