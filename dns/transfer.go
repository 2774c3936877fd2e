package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A zone transfer (AXFR) is the whole zone in one stream, for a secondary server: the SOA
// record, everything else, and the SOA record again. Nobody gets one unless transfer-to
// names him; see resolver.answer, which refuses it as a question like any other.

// maxEnvelope is how many bytes of records go into one message of a transfer.
const maxEnvelope = 60_000

// transfer makes the messages of a zone transfer. It is nil where a message asks for none,
// or for one that is not to be.
func (s *Server) transfer(wire []byte, peer netip.Addr) (replies [][]byte) {
	set := s.settings.Load()
	allowed := slices.ContainsFunc(set.transferTo, func(p netip.Prefix) bool { return p.Contains(peer.Unmap()) })
	var query dns.Msg
	if !allowed || !s.isReady() || query.Unpack(wire) != nil || len(query.Question) != 1 || query.Response || query.Opcode != dns.OpcodeQuery {
		return nil
	}
	q := query.Question[0]
	if q.Qtype != dns.TypeAXFR && q.Qtype != dns.TypeIXFR || q.Qclass != dns.ClassINET || fqdn(q.Name) != set.resolver.domain {
		return nil
	}
	var records []dns.RR
	s.index.read(func(v *view) { records = set.resolver.zone(v, q.Name, serialOf(&query)) })
	s.log.Info("zone transfer", "zone", q.Name, "to", peer, "records", len(records))
	for len(records) > 0 {
		m := new(dns.Msg).SetReply(&query)
		m.Authoritative, m.Compress = true, true
		for size := 0; len(records) > 0 && size+dns.Len(records[0]) < maxEnvelope; records = records[1:] {
			size += dns.Len(records[0])
			m.Answer = append(m.Answer, records[0])
		}
		reply, err := m.Pack()
		if err != nil {
			s.log.Error("pack zone transfer", "error", err)
			return [][]byte{reject(wire, dns.RcodeServerFailure)}
		}
		replies = append(replies, reply)
	}
	return replies
}

// serialOf is the version of the zone that a client has already (IXFR), or 0.
func serialOf(query *dns.Msg) uint32 {
	if query.Question[0].Qtype == dns.TypeIXFR && len(query.Ns) == 1 {
		if soa, ok := query.Ns[0].(*dns.SOA); ok {
			return soa.Serial
		}
	}
	return 0
}

// zone lists the zone's records, each as the answer to the question for it: so a
// transfer and the queries cannot disagree. Who has the present version gets nothing but
// its SOA record; we do not know what changed since another.
func (r *resolver) zone(v *view, origin string, has uint32) []dns.RR {
	soa := r.soa(v, origin)
	if has != 0 && has == soa.Serial {
		return []dns.RR{soa}
	}
	all := []dns.RR{soa}
	servers, addresses := r.ns(v, origin)
	all = append(append(all, servers...), addresses...)
	services := make([]*service, 0, len(v.services))
	for _, svc := range v.services {
		services = append(services, svc)
	}
	slices.SortFunc(services, func(a, b *service) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
	})
	for _, svc := range services {
		all = r.appendService(all, v, origin, svc)
	}
	return append(all, soa)
}

// appendService appends the records of one Service, and those of a headless one's endpoints.
func (r *resolver) appendService(all []dns.RR, v *view, origin string, svc *service) []dns.RR {
	name := svc.name + "." + svc.namespace + ".svc." + origin
	add := func(name string, types ...uint16) {
		for _, qtype := range types {
			all = append(all, r.answer(v, dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET}).records...)
		}
	}
	if svc.external != "" {
		add(name, dns.TypeCNAME)
		return all
	}
	add(name, dns.TypeA, dns.TypeAAAA)
	ports, endpoints := svc.ports, map[string]bool{}
	if svc.headless {
		ports = nil
		for _, s := range v.slices[svc.key] {
			ports = append(ports, s.ports...)
			for i := range s.endpoints {
				endpoints[record{service: svc, endpoint: &s.endpoints[i]}.owner(origin)] = true
			}
		}
	} else {
		add(name, dns.TypeSRV)
	}
	for endpoint := range endpoints {
		add(endpoint, dns.TypeA, dns.TypeAAAA)
	}
	seen := map[port]bool{}
	for _, p := range ports {
		if p.number = 0; p.name != "" && !seen[p] {
			seen[p] = true
			add("_"+p.name+"._"+p.protocol+"."+name, dns.TypeSRV)
		}
	}
	return all
}
