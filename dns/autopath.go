package dns

import (
	"strings"

	"github.com/miekg/dns"
)

// A Pod's resolver tries a name with fewer than five dots under every domain of its search
// list first: example.com is asked for as example.com.default.svc.cluster.local,
// example.com.svc.cluster.local, example.com.cluster.local, and only then as itself, each
// for A and AAAA. That the first of these does not exist is known at once; what the client
// will ask next is, too.
//
// Kubernetes: CoreDNS's autopath plugin finds the Pod by the client's address, to know its
// search list. A Pod that has just got the address of another is then answered for the
// other's namespace, and the answer depends on who asks, which a cache on the way breaks.
// Here the question itself says which namespace it was asked in.

// walk goes on where the first name of a search list does not exist. Where a later one
// does in the cluster, it is put into the answer, as what the first is an alias of; else
// the name to ask outside is returned, or "" where there is none.
func (r *resolver) walk(v *view, q dns.Question, a *answer) (outside string) {
	if a.rcode != dns.RcodeNameError {
		return ""
	}
	base := r.searched(v, q.Name)
	if base == "" {
		return ""
	}
	for _, suffix := range []string{"svc." + a.zone, a.zone, ""} {
		next := dns.Question{Name: base + "." + suffix, Qtype: q.Qtype, Qclass: q.Qclass}
		found := r.answer(v, next)
		if found.zone == "" {
			return next.Name
		}
		if found.rcode == dns.RcodeSuccess {
			found.zone = a.zone
			found.records = append([]dns.RR{r.cname(q.Name, next.Name)}, found.records...)
			*a = found
			break
		}
	}
	return ""
}

// searched is what was looked for, if a name is one that a Pod's resolver has made of it
// by the first domain of its search list. A name of one label is not looked for elsewhere:
// outside of the cluster there are none, but for the top-level domains. Neither is one
// below a Service that exists: that asks for an endpoint that is not there (yet).
func (r *resolver) searched(v *view, qname string) string {
	relative, ok := strings.CutSuffix(strings.ToLower(qname), "."+r.domain)
	if !ok || strings.IndexByte(relative, '\\') >= 0 {
		return ""
	}
	rest, kind := cutLast(relative)
	base, namespace := cutLast(rest)
	parent, service := cutLast(base)
	if kind != "svc" || !v.namespaces[namespace] || parent == "" || v.services[key{namespace, service}] != nil {
		return ""
	}
	return qname[:len(base)]
}
