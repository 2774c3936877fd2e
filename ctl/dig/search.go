// Package dig asks a DNS server as a Pod's resolver does, and shows what the resolver
// hides: every name that it tries, each answer, and the object of the cluster that the
// answer was made of.
//
//	search.go   a resolv.conf and a name -> the names to try
//	ask.go      one name after the other, until one is found
//	objects.go  a record, or that there is none -> the objects behind it
//	text.go     how it is printed
//
// Its counterparts are res_search of the C library, and dig of BIND.
package dig

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Resolver is what a resolv.conf tells a resolver.
type Resolver struct {
	Servers []string `json:"servers"` // IP:port
	Search  []string `json:"search"`
	Ndots   int      `json:"ndots"`
}

// The C library's own bounds.
const (
	defaultNdots = 1
	maxNdots     = 15
	maxServers   = 3
)

// ParseResolvConf reads the text of a resolv.conf as the C library does: the last search
// line counts, what is not understood does not.
func ParseResolvConf(text string) Resolver {
	r := Resolver{Ndots: defaultNdots}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil && len(r.Servers) < maxServers {
				r.Servers = append(r.Servers, netip.AddrPortFrom(addr, 53).String())
			}
		case "search", "domain":
			r.Search = fields[1:]
		case "options":
			for _, option := range fields[1:] {
				if text, ok := strings.CutPrefix(option, "ndots:"); ok {
					if n, err := strconv.Atoi(text); err == nil && n >= 0 {
						r.Ndots = min(n, maxNdots)
					}
				}
			}
		}
	}
	return r
}

// ForNamespace is the resolver of a Pod that has none of its own settings.
func ForNamespace(server, namespace, domain string) Resolver {
	return Resolver{
		Servers: []string{server},
		Search:  []string{namespace + ".svc." + domain, "svc." + domain, domain},
		Ndots:   5,
	}
}

// Names are those that a resolver tries, in its order. A name with a dot at its end is
// complete. One with at least ndots dots is tried as it is at first, any other at last.
func (r Resolver) Names(name string) (names []string) {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	for _, domain := range r.Search {
		if full := dns.Fqdn(name + "." + strings.TrimPrefix(domain, ".")); len(full) <= 254 {
			names = append(names, full)
		}
	}
	asIs := dns.Fqdn(name)
	if strings.Count(name, ".") >= r.Ndots {
		return append([]string{asIs}, names...)
	}
	return append(names, asIs)
}

// Domain is the cluster's, as far as the search list gives it away.
func (r Resolver) Domain() string {
	i := slices.IndexFunc(r.Search, func(s string) bool { return strings.HasPrefix(s, "svc.") })
	if i < 0 {
		return "cluster.local"
	}
	return strings.TrimSuffix(strings.TrimPrefix(r.Search[i], "svc."), ".")
}
