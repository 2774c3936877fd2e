package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// record is one thing a name stands for: an address, with a port where the object
// declares one, or a canonical name.
type record struct {
	addr  netip.Addr
	cname string // fully qualified
	port  int32  // -1: none declared

	service  *service  // that the address belongs to, or
	endpoint *endpoint // of the service, or
	pod      string    // by its relative name
}

// owner is the name under which SRV and PTR records refer to a record.
func (r record) owner(zone string) string {
	if r.pod != "" {
		return r.pod + "." + zone
	}
	owner := r.service.name + "." + r.service.namespace + ".svc." + zone
	switch {
	case r.endpoint == nil:
		return owner
	case r.endpoint.hostname != "":
		return r.endpoint.hostname + "." + owner
	default:
		return dashed(r.endpoint.addr) + "." + owner
	}
}

// zoneOf finds the zone that a lower-cased name is in.
func (r *resolver) zoneOf(qname string) (string, bool) {
	for _, zone := range r.zones {
		if qname == zone || strings.HasSuffix(qname, "."+zone) {
			return zone, true
		}
	}
	return "", false
}

// lookup finds what a name stands for, relative to its zone. A name may exist and
// stand for nothing, as that of a Namespace does.
func (r *resolver) lookup(v *view, zone, relative string) (found []record, exists bool) {
	switch relative {
	case "", "svc", "pod":
		return nil, true
	case "ns.dns":
		for _, server := range r.nameServers(v) {
			found = append(found, record{addr: server.addr, port: -1})
		}
		return found, true
	}
	n, ok := parseName(relative)
	switch {
	case !ok || zone != r.domain || !v.namespaces[n.namespace]:
		return nil, false
	case n.kind == "pod":
		return r.lookupPod(v, &n)
	case n.object == "":
		return nil, true
	default:
		return lookupService(v, &n)
	}
}

// lookupPod finds the address that a Pod's name spells.
func (r *resolver) lookupPod(v *view, n *name) (found []record, exists bool) {
	if r.pods == podsDisabled {
		return nil, false
	}
	if n.object == "" {
		return nil, true
	}
	addr, ok := undashed(n.object)
	if !ok {
		return nil, false
	}
	if r.pods == podsVerified {
		inNamespace := func(k key) bool { return k.namespace == n.namespace }
		if !slices.ContainsFunc(v.podIPs[addr], inNamespace) {
			return nil, false
		}
	}
	return []record{{addr: addr, pod: n.object + "." + n.namespace + ".pod"}}, true
}

// lookupService finds the addresses of a Service: its own, or where it is headless, or
// where one endpoint is asked for, those of its ready endpoints.
func lookupService(v *view, n *name) (found []record, exists bool) {
	svc := v.services[key{n.namespace, n.object}]
	switch {
	case svc == nil:
		return nil, false
	case svc.external != "":
		if n.endpoint != "" || n.port != "" || n.protocol != "" {
			return nil, false // it has neither endpoints nor ports
		}
		return []record{{cname: svc.external, service: svc}}, true
	case svc.headless || n.endpoint != "":
		return lookupEndpoints(v.slices[svc.key], svc, n)
	}
	for i := range svc.ports {
		if !svc.ports[i].matches(n) {
			continue
		}
		exists = true
		for _, ip := range svc.ips {
			found = append(found, record{addr: ip, port: svc.ports[i].number, service: svc})
		}
	}
	return found, exists
}

// lookupEndpoints lists endpoints, per port. A headless Service without a ready one
// does not exist in the DNS, as the specification wants it.
func lookupEndpoints(all []*slice, svc *service, n *name) (found []record, exists bool) {
	wanted := endpointFilter(n.endpoint)
	for _, s := range all {
		for i := range s.endpoints {
			ep := &s.endpoints[i]
			if !wanted(ep) {
				continue
			}
			for j := range s.ports {
				if s.ports[j].matches(n) {
					found = append(found, record{addr: ep.addr, port: s.ports[j].number, service: svc, endpoint: ep})
				}
			}
		}
	}
	return found, len(found) > 0
}

// endpointFilter recognises endpoints by their label: the hostname of those that have
// one, the address with dashes of the others.
func endpointFilter(label string) func(*endpoint) bool {
	if label == "" {
		return func(*endpoint) bool { return true }
	}
	addr, ok := undashed(label)
	ok = ok && dashed(addr) == label // one spelling only
	return func(ep *endpoint) bool {
		if ep.hostname != "" {
			return strings.EqualFold(ep.hostname, label)
		}
		return ok && ep.addr == addr
	}
}

// nameServers lists the addresses a client may ask: of the Services that this server
// is an endpoint of, else, where there are none, its own.
func (r *resolver) nameServers(v *view) (servers []record) {
	for _, local := range r.locals {
		for _, s := range v.endpointIPs[local] {
			svc := v.services[s.service]
			switch {
			case svc == nil:
			case svc.headless:
				for i := range s.endpoints {
					servers = append(servers, record{addr: s.endpoints[i].addr, service: svc, endpoint: &s.endpoints[i]})
				}
			default:
				for _, ip := range svc.ips {
					servers = append(servers, record{addr: ip, service: svc})
				}
			}
		}
	}
	if servers == nil {
		for _, local := range r.locals {
			servers = append(servers, record{addr: local})
		}
	}
	return servers
}

// nsName is the name of the server itself, for want of a Service.
func (r *resolver) nsName() string { return "ns.dns." + r.domain }

// fqdn is a zone or name in the form that names are compared in.
func fqdn(name string) string { return dns.Fqdn(strings.ToLower(name)) }
