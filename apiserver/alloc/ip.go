package alloc

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// maxIPs bounds how much of a large IPv6 network is used, as upstream does.
const maxIPs = 1 << 16

// IPRange is a network that ClusterIPs come from.
type IPRange struct {
	prefix netip.Prefix
	family corev1.IPFamily
	size   int // usable addresses
}

// ParseIPRange reads "10.96.0.0/12".
func ParseIPRange(cidr string) (IPRange, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return IPRange{}, fmt.Errorf("service network: %w", err)
	}
	r := IPRange{prefix: prefix.Masked(), family: FamilyOf(prefix.Addr())}
	bits := prefix.Addr().BitLen() - prefix.Bits()
	switch {
	case bits < 2:
		return IPRange{}, fmt.Errorf("service network %s is too small", cidr)
	case r.family == corev1.IPv6Protocol && bits > 16:
		r.size = maxIPs
	case r.family == corev1.IPv6Protocol:
		r.size = 1<<bits - 1 // the network's own address is not used
	default:
		r.size = 1<<min(bits, 30) - 2 // nor is IPv4's broadcast address
	}
	return r, nil
}

// FamilyOf is the IP family of an address.
func FamilyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// at is the i-th usable address.
func (r IPRange) at(i int) netip.Addr {
	if r.family == corev1.IPv4Protocol {
		b := r.prefix.Addr().As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(i)+1)
		return netip.AddrFrom4(b)
	}
	b := r.prefix.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+uint64(i)+1)
	return netip.AddrFrom16(b)
}

// contains says whether the address is one that may be used.
func (r IPRange) contains(ip netip.Addr) bool {
	return r.prefix.Contains(ip) && ip != r.prefix.Addr() && (r.family == corev1.IPv6Protocol || ip != r.broadcast())
}

// broadcast is the last address of an IPv4 network.
func (r IPRange) broadcast() netip.Addr {
	b := r.prefix.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(1<<(32-r.prefix.Bits())-1))
	return netip.AddrFrom4(b)
}

// check says whether one may ask for the address.
func (a *Allocator) check(ip netip.Addr, taken Taken) error {
	switch {
	case !slices.ContainsFunc(a.within, func(r IPRange) bool { return r.contains(ip) }):
		return ErrMismatched
	case taken.ip(ip.String()):
		return ErrAllocatedIP
	}
	return nil
}

// pick chooses an address of the family that nobody asked for, from the first network
// that has one left.
func (a *Allocator) pick(family corev1.IPFamily, taken Taken) (netip.Addr, error) {
	for _, r := range a.within {
		if r.family != family {
			continue
		}
		if ip, err := r.pick(taken); err == nil {
			return ip, nil
		}
	}
	return netip.Addr{}, ErrFull
}

func (r IPRange) pick(taken Taken) (netip.Addr, error) {
	i, err := choose(r.size, band(r.size, 16, 256), func(i int) bool { return !taken.ip(r.at(i).String()) })
	return r.at(i), err
}

// band is the size of the lower part of a range, which is kept for those who ask for
// a certain value: 1/step of it, between 16 and most. Small ranges have none.
func band(size, step, most int) int {
	if size <= 16 {
		return 0
	}
	return min(max(16, size/step), most)
}

// choose returns a random free index, from the upper band as long as it has one.
func choose(size, lower int, free func(int) bool) (int, error) {
	if i, ok := search(lower, size, free); ok {
		return i, nil
	}
	if i, ok := search(0, lower, free); ok {
		return i, nil
	}
	return 0, ErrFull
}

// search walks [low, high) once, from a random start.
func search(low, high int, free func(int) bool) (int, bool) {
	n := high - low
	if n <= 0 {
		return 0, false
	}
	start := rand.IntN(n)
	for i := range n {
		if at := low + (start+i)%n; free(at) {
			return at, true
		}
	}
	return 0, false
}
