package servicecidr

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
)

// prefixes are the networks of a ServiceCIDR; validation has seen to it that all can be read.
func prefixes(c *networkingv1.ServiceCIDR) []netip.Prefix {
	var all []netip.Prefix
	for _, cidr := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			all = append(all, p.Masked())
		}
	}
	return all
}

// contains says whether a network of the ServiceCIDR contains the address.
func contains(c *networkingv1.ServiceCIDR, ip netip.Addr) bool {
	for _, p := range prefixes(c) {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// covers says whether a network of the ServiceCIDR contains the whole other one.
func covers(c *networkingv1.ServiceCIDR, other netip.Prefix) bool {
	for _, p := range prefixes(c) {
		if p.Bits() <= other.Bits() && p.Contains(other.Addr()) {
			return true
		}
	}
	return false
}

// dependent is an address that would belong to no ServiceCIDR if this one went; the
// zero address if there is none. Other ones that are going themselves count: the last of
// them waits.
func dependent(c *networkingv1.ServiceCIDR, others []*networkingv1.ServiceCIDR, addresses []netip.Addr) netip.Addr {
	covered := true
	for _, p := range prefixes(c) {
		found := false
		for _, o := range others {
			found = found || covers(o, p)
		}
		covered = covered && found
	}
	if covered {
		return netip.Addr{}
	}
next:
	for _, ip := range addresses {
		if !contains(c, ip) {
			continue
		}
		for _, o := range others {
			if contains(o, ip) {
				continue next
			}
		}
		return ip
	}
	return netip.Addr{}
}
