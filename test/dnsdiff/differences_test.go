package dnsdiff

import (
	"slices"
	"strings"

	miekg "github.com/miekg/dns"
)

// difference is one way in which our replies are not CoreDNS's, and why.
type difference struct {
	reason  string
	applies func(sc scenario, q question, theirs, ours reply) bool
}

// differences are tried in order: the first that applies explains two replies.
var differences = []difference{
	{
		reason: "another class than IN: with a forward plugin CoreDNS takes it for IN, without one it refuses, as we always do",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			return q.class != miekg.ClassINET && sc.forward && ours.rcode == miekg.RcodeRefused
		},
	}, {
		reason: "BADVERS: CoreDNS says that it takes packets of 0 bytes, we repeat the client's size",
		applies: func(_ scenario, q question, theirs, ours reply) bool {
			ours.opt, theirs.opt = "", ""
			return q.flags == "version1" && ours.rcode == miekg.RcodeBadVers && ours.String() == theirs.String()
		},
	}, {
		reason: "a name outside the cluster, without an upstream: CoreDNS fails, and resolvers try it for seconds; to us it does not exist",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			exists := ours.rcode == miekg.RcodeSuccess && q.name == "."
			return !sc.forward && outside(q.name) && theirs.rcode == miekg.RcodeServerFailure &&
				(ours.rcode == miekg.RcodeNameError || exists) && len(ours.answer) == 0
		},
	}, {
		reason: "TXT of a name that exists: CoreDNS denies the name (NXDOMAIN) where it has no addresses, as a Namespace; we deny the type",
		applies: func(_ scenario, q question, theirs, ours reply) bool {
			return q.qtype == miekg.TypeTXT && deniesWhatExists(theirs, ours)
		},
	}, {
		reason: "PTR of ns.dns: CoreDNS denies the name, which has addresses; we deny the type",
		applies: func(_ scenario, q question, theirs, ours reply) bool {
			return q.qtype == miekg.TypePTR && isNameServer(q.name) && deniesWhatExists(theirs, ours)
		},
	}, {
		reason: "NS and ns.dns in another case than the zone's: CoreDNS compares them byte by byte, RFC 4343 does not",
		applies: func(_ scenario, q question, theirs, ours reply) bool {
			apexNS := q.qtype == miekg.TypeNS && miekg.CountLabel(q.name) == 2
			leadsThere := isNameServer(q.name) || strings.EqualFold(q.name, "to-ns.shop.svc.cluster.local.")
			return q.name != strings.ToLower(q.name) && (apexNS || leadsThere) &&
				len(theirs.answer) == 0 && ours.rcode == miekg.RcodeSuccess
		},
	}, {
		reason: "NS of a reverse zone: CoreDNS names servers in that zone, where the names do not exist; ours are in the cluster's domain",
		applies: func(_ scenario, q question, theirs, ours reply) bool {
			moved := strings.NewReplacer("svc."+q.name, "svc.cluster.local.", "ns.dns."+q.name, "ns.dns.cluster.local.")
			return q.qtype == miekg.TypeNS && strings.HasSuffix(q.name, ".arpa.") && moved.Replace(theirs.String()) == ours.String()
		},
	}, {
		reason: "the address of a verified Pod in an unusual spelling: CoreDNS compares the text, we the address",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			return sc.pods == "verified" && strings.HasPrefix(strings.ToLower(q.name), "fd00-10-244-1-0-0-0-4.") &&
				theirs.rcode == miekg.RcodeNameError && ours.rcode == miekg.RcodeSuccess
		},
	}, {
		reason: "autopath asked from another Namespace than the name says: CoreDNS goes by the client's address, we by the name, so the answer does not depend on who asks",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			return sc.client != "" && !searchedFrom(sc.client, q.name) && theirs.rcode == miekg.RcodeNameError &&
				ours.rcode == miekg.RcodeSuccess && aliases(q.name, ours.answer) == 1
		},
	}, {
		reason: "autopath to a name outside: CoreDNS's alias lives as long as what it leads to, ours no longer than any name of the cluster, which may get one of its own",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			theirs.answer = shortLived(q.name, theirs.answer)
			return sc.client != "" && searchedFrom(sc.client, q.name) && theirs.String() == ours.String()
		},
	}, {
		reason: "autopath to a name without such a record: CoreDNS does not say whose SOA record it sends, we send the alias, too",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			return sc.client != "" && searchedFrom(sc.client, q.name) && theirs.rcode == miekg.RcodeSuccess && len(theirs.answer) == 0 &&
				ours.rcode == miekg.RcodeSuccess && len(ours.answer) == 1 && aliases(q.name, ours.answer) == 1
		},
	}, {
		reason: "autopath with an ExternalName: CoreDNS repeats its CNAME record, which a name must have only one of",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			theirs.answer = slices.Compact(shortLived(q.name, theirs.answer))
			return sc.client != "" && theirs.String() == ours.String()
		},
	}, {
		reason: "autopath of a name below a Service that exists: it asks for an endpoint that is not there (yet), and must not lead anywhere else",
		applies: func(sc scenario, q question, theirs, ours reply) bool {
			return sc.client != "" && strings.HasSuffix(q.name, ".svc.shop.svc.cluster.local.") && // a Service named svc
				theirs.rcode == miekg.RcodeSuccess && ours.rcode == miekg.RcodeNameError
		},
	},
}

// searchedFrom reports whether a name is the first of a Pod's search list.
func searchedFrom(namespace, name string) bool {
	return strings.HasSuffix(name, "."+namespace+".svc.cluster.local.")
}

// shortLived gives the CNAME records of a name the lifetime that ours have.
func shortLived(name string, answer []string) (lines []string) {
	for _, line := range answer {
		lines = append(lines, strings.Replace(line, name+" 60 IN CNAME", name+" 5 IN CNAME", 1))
	}
	slices.Sort(lines)
	return lines
}

// aliases counts the CNAME records of a name.
func aliases(name string, answer []string) (n int) {
	for _, line := range answer {
		if strings.HasPrefix(line, name+" 5 IN CNAME ") {
			n++
		}
	}
	return n
}

// deniesWhatExists: their reply says that there is no such name, ours that there is.
func deniesWhatExists(theirs, ours reply) bool {
	return theirs.rcode == miekg.RcodeNameError && ours.rcode == miekg.RcodeSuccess && len(ours.answer) == 0
}

// outside reports whether a name is in none of the zones.
func outside(name string) bool {
	for _, zone := range []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."} {
		if miekg.IsSubDomain(zone, name) {
			return false
		}
	}
	return true
}

// isNameServer reports whether a name is that of the server itself, in any zone.
func isNameServer(name string) bool {
	return strings.HasPrefix(strings.ToLower(name), "ns.dns.") && miekg.CountLabel(name) == 4
}
