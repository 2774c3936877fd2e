package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// resolver knows what names mean. Its methods are pure: all that changes is in the view.
type resolver struct {
	domain string   // fully qualified, lower-cased
	zones  []string // the domain and the reverse zones
	ttl    uint32
	pods   string
	locals []netip.Addr // the server's own addresses
}

// answer is what there is to say to a question. Without records it is a negative
// answer, which the zone's SOA record goes with.
type answer struct {
	zone      string // as the question spells it; empty for a name outside
	rcode     int
	records   []dns.RR
	extra     []dns.RR
	soa       *dns.SOA
	chase     string // where records end in a CNAME to a name outside: that name
	truncated bool
}

// schemaVersion is the version of the Kubernetes DNS specification we follow.
const schemaVersion = "1.1.0"

// schemaTTL is the lifetime that the specification's own example gives it.
const schemaTTL = 28800

// answer answers a question. Whether a name without records of the wanted type exists
// (NOERROR) or does not (NXDOMAIN) depends on the type here and there, in CoreDNS's way:
// SOA questions never find out that a name is missing.
func (r *resolver) answer(v *view, q dns.Question) answer {
	qname := strings.ToLower(q.Name)
	zone, ok := r.zoneOf(qname)
	if !ok {
		return answer{}
	}
	relative := strings.TrimSuffix(strings.TrimSuffix(qname, zone), ".")
	a := answer{zone: q.Name[len(q.Name)-len(zone):]}
	exists := true

	switch q.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		a.rcode = dns.RcodeRefused
		return a
	case dns.TypeSOA:
		if relative == "" {
			a.records = []dns.RR{r.soa(v, a.zone)}
		}
	case dns.TypeTXT:
		if relative == "dns-version" {
			a.records = []dns.RR{&dns.TXT{Hdr: header(q.Name, dns.TypeTXT, schemaTTL), Txt: []string{schemaVersion}}}
			break
		}
		_, exists = r.lookup(v, zone, relative)
	case dns.TypePTR:
		a.records, exists = r.ptr(v, q.Name, zone, relative)
	case dns.TypeNS:
		if relative == "" {
			a.records, a.extra = r.ns(v, q.Name)
			break
		}
		_, exists = r.lookup(v, zone, relative)
	default:
		var found []record
		if found, exists = r.lookup(v, zone, relative); exists {
			r.render(v, &a, q, found)
		}
	}
	if !exists {
		a.rcode = dns.RcodeNameError
	}
	if len(a.records) == 0 {
		a.soa = r.soa(v, a.zone)
	}
	return a
}

// render puts what a name stands for into records of the type asked for.
func (r *resolver) render(v *view, a *answer, q dns.Question, found []record) {
	switch q.Qtype {
	case dns.TypeA, dns.TypeAAAA:
		r.addresses(v, a, q, found)
	case dns.TypeSRV:
		r.srv(a, q.Name, found)
	case dns.TypeCNAME:
		if len(found) > 0 && found[0].cname != "" {
			a.records = []dns.RR{r.cname(q.Name, found[0].cname)}
		}
	}
}

// addresses answers an A or AAAA question. A canonical name that is ours as well is
// followed at once; one that leads nowhere adds nothing, not even its CNAME.
func (r *resolver) addresses(v *view, a *answer, q dns.Question, found []record) {
	seen := map[netip.Addr]bool{}
	for _, rec := range found {
		switch {
		case rec.cname == "":
			if rec.addr.Is4() == (q.Qtype == dns.TypeA) && !seen[rec.addr] {
				seen[rec.addr] = true
				a.records = append(a.records, r.address(q.Name, rec.addr))
			}
		case dns.IsSubDomain(q.Name, rec.cname) || len(a.records) > maxChain:
			// A loop, or too long a chain.
		case dns.IsSubDomain(a.zone, rec.cname):
			r.follow(v, a, q, rec.cname)
		default:
			a.records = append(a.records, r.cname(q.Name, rec.cname))
			a.chase = rec.cname
		}
	}
}

// maxChain bounds the CNAME records of an answer.
const maxChain = 10

// follow adds the CNAME to a name of our own and what that name resolves to.
func (r *resolver) follow(v *view, a *answer, q dns.Question, target string) {
	cname := r.cname(q.Name, target)
	isDuplicate := func(rr dns.RR) bool { return dns.IsDuplicate(rr, cname) }
	if slices.ContainsFunc(a.records, isDuplicate) {
		return
	}
	relative := strings.TrimSuffix(strings.ToLower(target[:len(target)-len(a.zone)]), ".")
	found, _ := r.lookup(v, r.domain, relative)
	before := len(a.records)
	a.records = append(a.records, cname)
	r.addresses(v, a, dns.Question{Name: target, Qtype: q.Qtype, Qclass: q.Qclass}, found)
	if len(a.records) == before+1 {
		a.records = a.records[:before]
	}
}

// srv answers an SRV question with a record per port and address, and their addresses
// as glue, so that a client need not ask again.
func (r *resolver) srv(a *answer, qname string, found []record) {
	type target struct {
		name string
		addr netip.Addr
		port int32
	}
	seen := map[target]bool{}
	first := func(t target) bool {
		defer func() { seen[t] = true }()
		return !seen[t]
	}
	for _, rec := range found {
		if rec.port < 0 || rec.cname != "" {
			continue
		}
		name := rec.owner(a.zone)
		if first(target{name: name, port: rec.port}) {
			a.records = append(a.records, &dns.SRV{
				Hdr:    header(qname, dns.TypeSRV, r.ttl),
				Weight: uint16(max(100/len(found), 1)), // a fair share of 100
				Port:   uint16(rec.port),
				Target: name,
			})
		}
		if first(target{name: name, addr: rec.addr}) {
			a.extra = append(a.extra, r.address(name, rec.addr))
		}
	}
}

// ptr answers a PTR question: the Service that has the address, else the endpoints.
func (r *resolver) ptr(v *view, owner, zone, relative string) (records []dns.RR, exists bool) {
	addr, ok := reversed(strings.ToLower(owner))
	if !ok {
		_, exists = r.lookup(v, zone, relative)
		return nil, exists
	}
	var targets []string
	if services := v.serviceIPs[addr]; len(services) > 0 {
		targets = append(targets, record{service: services[0]}.owner(r.domain))
	}
	if targets == nil {
		targets = r.endpointNames(v, addr)
	}
	for _, target := range targets {
		records = append(records, &dns.PTR{Hdr: header(owner, dns.TypePTR, r.ttl), Ptr: target})
	}
	return records, len(records) > 0
}

// endpointNames lists the names an endpoint has, one per Service that selects it.
func (r *resolver) endpointNames(v *view, addr netip.Addr) (names []string) {
	for _, s := range v.endpointIPs[addr] {
		for i := range s.endpoints {
			if s.endpoints[i].addr != addr {
				continue
			}
			rec := record{service: &service{key: s.service}, endpoint: &s.endpoints[i]}
			if name := rec.owner(r.domain); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// ns answers for a zone's name servers: the Services that this server is an endpoint
// of, so that a client which follows the NS record meets all replicas.
//
// Kubernetes: CoreDNS names them in the zone asked for, also where that is a reverse
// zone, in which they do not exist. Ours are always in the cluster's domain.
func (r *resolver) ns(v *view, qname string) (records, extra []dns.RR) {
	var seen []string
	for _, server := range r.nameServers(v) {
		name := r.nsName()
		if server.service != nil {
			name = server.owner(r.domain)
		}
		if !slices.Contains(seen, name) {
			seen = append(seen, name)
			records = append(records, &dns.NS{Hdr: header(qname, dns.TypeNS, r.ttl), Ns: name})
		}
		extra = append(extra, r.address(name, server.addr))
	}
	return records, extra
}

// soa is the record that makes a negative answer cacheable, for its minimum TTL.
func (r *resolver) soa(v *view, zone string) *dns.SOA {
	return &dns.SOA{
		Hdr:     header(zone, dns.TypeSOA, r.ttl),
		Ns:      "ns.dns." + zone,
		Mbox:    "hostmaster." + zone,
		Serial:  v.serial,
		Refresh: 7200,
		Retry:   1800,
		Expire:  86400,
		Minttl:  r.ttl,
	}
}

func (r *resolver) cname(owner, target string) dns.RR {
	return &dns.CNAME{Hdr: header(owner, dns.TypeCNAME, r.ttl), Target: target}
}

func (r *resolver) address(owner string, addr netip.Addr) dns.RR {
	if addr.Is4() {
		return &dns.A{Hdr: header(owner, dns.TypeA, r.ttl), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(owner, dns.TypeAAAA, r.ttl), AAAA: addr.AsSlice()}
}

func header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}
