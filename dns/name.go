package dns

import (
	"net/netip"
	"strings"
)

// name is what the labels of a query name before the zone say, lower-cased:
//
//	service.namespace.svc                  a Service
//	endpoint.service.namespace.svc         one of its endpoints
//	_port._protocol.service.namespace.svc  one of its ports
//	10-244-1-7.namespace.pod               a Pod
type name struct {
	kind      string // svc or pod
	namespace string
	object    string // the Service's name, or the Pod's address with dashes
	endpoint  string
	port      string
	protocol  string
}

// parseName splits a name relative to its zone, without trailing dot. It is false for
// a name that nothing can have; parts that are missing stay empty.
func parseName(relative string) (n name, ok bool) {
	if strings.IndexByte(relative, '\\') >= 0 {
		return n, false // an escaped byte: no Kubernetes name has one
	}
	rest := relative
	rest, n.kind = cutLast(rest)
	if n.kind != "svc" && n.kind != "pod" {
		return n, false
	}
	rest, n.namespace = cutLast(rest)
	rest, n.object = cutLast(rest)
	rest, last := cutLast(rest)
	rest, first := cutLast(rest)
	switch {
	case rest != "":
		return n, false // too many labels
	case first == "":
		n.endpoint = last
	default: // the underscores are customary, but CoreDNS does not insist on them
		n.port, n.protocol = strings.TrimPrefix(first, "_"), strings.TrimPrefix(last, "_")
	}
	return n, true
}

// cutLast splits off the last label.
func cutLast(s string) (rest, label string) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}

// dashed writes an address as the label that stands for it: 10-244-1-7, fd00-10--1. A
// label must not end in a dash, so fd00:: is fd00--0.
func dashed(addr netip.Addr) string {
	label := strings.Map(func(r rune) rune {
		if r == '.' || r == ':' {
			return '-'
		}
		return r
	}, addr.String())
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}

// undashed reads such a label.
func undashed(label string) (netip.Addr, bool) {
	sep := ":"
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		sep = "."
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", sep))
	return addr.Unmap(), err == nil && addr.Zone() == ""
}

// reversed reads the address out of a lower-cased name under in-addr.arpa or ip6.arpa.
func reversed(qname string) (addr netip.Addr, ok bool) {
	if digits, found := strings.CutSuffix(qname, ".in-addr.arpa."); found {
		labels := strings.Split(digits, ".")
		if len(labels) != 4 {
			return addr, false
		}
		addr, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		return addr, err == nil
	}
	digits, found := strings.CutSuffix(qname, ".ip6.arpa.")
	if !found || len(digits) != 63 { // 32 digits and the dots between them
		return addr, false
	}
	var ip [16]byte
	for i := range 32 {
		digit := strings.IndexByte("0123456789abcdef", digits[62-2*i])
		if digit < 0 || (i > 0 && digits[63-2*i] != '.') {
			return addr, false
		}
		ip[i/2] = ip[i/2]<<4 | byte(digit)
	}
	return netip.AddrFrom16(ip), true
}
