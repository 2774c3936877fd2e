package loadbalancer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netutils "k8s.io/utils/net"

	"orrery.example.org/controller/loop"
)

// Why there is no address. People read these in events.
var (
	errExhausted = errors.New("the pool has no free address")
	errNoPool    = errors.New("there is no pool of addresses")
)

// pool hands out addresses: the lowest that is free, or the one that is asked for.
// It forgets nothing that a Service has, so that no address is ever given twice.
type pool struct {
	ranges []addressRange
	owner  map[netip.Addr]loop.Name
}

// addressRange is a range of addresses of one family, both ends included.
type addressRange struct{ first, last netip.Addr }

// parsePool reads CIDRs (172.30.100.0/24) and ranges (172.30.100.10-172.30.100.20).
func parsePool(texts []string) (*pool, error) {
	p := &pool{owner: map[netip.Addr]loop.Name{}}
	for _, text := range texts {
		r, err := parseRange(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("load-balancer-pool: %w", err)
		}
		for _, other := range p.ranges {
			if other.contains(r.first) || r.contains(other.first) {
				return nil, fmt.Errorf("load-balancer-pool: %s overlaps with another range", text)
			}
		}
		p.ranges = append(p.ranges, r)
	}
	return p, nil
}

func parseRange(text string) (addressRange, error) {
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, errA := netip.ParseAddr(strings.TrimSpace(first))
		b, errB := netip.ParseAddr(strings.TrimSpace(last))
		if err := errors.Join(errA, errB); err != nil {
			return addressRange{}, err
		}
		if a.Zone() != "" || a.Is4() != b.Is4() || b.Less(a) {
			return addressRange{}, fmt.Errorf("%q is not a range from a lower to a higher address", text)
		}
		return addressRange{a, b}, nil
	}
	cidr, err := netip.ParsePrefix(text)
	if err != nil {
		return addressRange{}, err
	}
	r := addressRange{cidr.Masked().Addr(), lastOf(cidr)}
	// Of an IPv4 network the first and the last address are its own and broadcast; some
	// clients refuse to connect to them.
	if cidr.Addr().Is4() && cidr.Bits() < 31 {
		r.first, r.last = r.first.Next(), r.last.Prev()
	}
	return r, nil
}

// lastOf is the last address of a network.
func lastOf(cidr netip.Prefix) netip.Addr {
	b := cidr.Addr().AsSlice()
	for bit := cidr.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (r addressRange) contains(a netip.Addr) bool {
	return a.Is4() == r.first.Is4() && !a.Less(r.first) && !r.last.Less(a)
}

func (p *pool) contains(a netip.Addr) bool {
	return slices.ContainsFunc(p.ranges, func(r addressRange) bool { return r.contains(a) })
}

// occupy notes addresses that a Service has. It keeps those of the pool that are
// nobody else's.
func (p *pool) occupy(svc loop.Name, addrs []netip.Addr) {
	for _, a := range addrs {
		if _, taken := p.owner[a]; !taken && p.contains(a) {
			p.owner[a] = svc
		}
	}
}

// of lists what a Service has, in order.
func (p *pool) of(svc loop.Name) []netip.Addr {
	var addrs []netip.Addr
	for a, owner := range p.owner {
		if owner == svc {
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// release takes back all that a Service has, and tells whether there was anything.
func (p *pool) release(svc loop.Name) bool {
	before := len(p.owner)
	for a, owner := range p.owner {
		if owner == svc {
			delete(p.owner, a)
		}
	}
	return len(p.owner) < before
}

// assign gives a Service one address of each of its families for which there is a pool,
// at least one: those it has, or the one it requests, or free ones. After an error the
// Service has what it had before.
func (p *pool) assign(svc loop.Name, families []corev1.IPFamily, request string) ([]netip.Addr, error) {
	requested, err := parseRequest(request, families)
	if err != nil {
		return nil, err
	}
	had := p.of(svc)
	var chosen []netip.Addr
	for _, family := range families {
		if !slices.ContainsFunc(p.ranges, func(r addressRange) bool { return familyOf(r.first) == family }) {
			continue
		}
		a, err := p.choose(svc, family, had, requested)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, a)
	}
	switch {
	case len(chosen) == 0:
		return nil, fmt.Errorf("%w of the family %v", errNoPool, families)
	case requested.IsValid() && !slices.Contains(chosen, requested):
		return nil, fmt.Errorf("the requested address %s is not in the pool", requested)
	}
	p.release(svc)
	p.occupy(svc, chosen)
	return chosen, nil
}

// parseRequest reads spec.loadBalancerIP; the result is invalid if it is empty.
func parseRequest(text string, families []corev1.IPFamily) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	requested, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	if !ok {
		return requested, fmt.Errorf("the requested address %q is not an IP address", text)
	}
	if requested = requested.Unmap(); !slices.Contains(families, familyOf(requested)) {
		return requested, fmt.Errorf("the requested address %s is not of the Service's families %v", requested, families)
	}
	return requested, nil
}

// choose finds one address of a family.
func (p *pool) choose(svc loop.Name, family corev1.IPFamily, had []netip.Addr, requested netip.Addr) (netip.Addr, error) {
	if requested.IsValid() && familyOf(requested) == family {
		if !p.contains(requested) {
			return requested, fmt.Errorf("the requested address %s is not in the pool", requested)
		}
		if owner, taken := p.owner[requested]; taken && owner != svc {
			return requested, fmt.Errorf("the requested address %s belongs to the Service %s", requested, owner)
		}
		return requested, nil
	}
	for _, a := range had {
		if familyOf(a) == family {
			return a, nil
		}
	}
	for _, r := range p.ranges {
		for a := r.first; familyOf(a) == family && r.contains(a); a = a.Next() {
			if _, taken := p.owner[a]; !taken {
				return a, nil
			}
		}
	}
	return netip.Addr{}, errExhausted
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}
