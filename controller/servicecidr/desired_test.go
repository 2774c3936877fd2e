package servicecidr

import (
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

func cidr(cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

func TestDependent(t *testing.T) {
	list := func(cidrs ...*networkingv1.ServiceCIDR) []*networkingv1.ServiceCIDR { return cidrs }
	for _, c := range []struct {
		name      string
		cidr      *networkingv1.ServiceCIDR
		others    []*networkingv1.ServiceCIDR
		addresses []string
		want      string
	}{
		{"unused", cidr("10.0.0.0/24"), nil, []string{"10.0.1.7"}, ""},
		{"in use", cidr("10.0.0.0/24"), nil, []string{"10.0.1.7", "10.0.0.7"}, "10.0.0.7"},
		{"in a larger one", cidr("10.0.0.0/24"), list(cidr("10.0.0.0/16")), []string{"10.0.0.7"}, ""},
		{"the same again", cidr("10.0.0.0/24"), list(cidr("10.0.0.0/24")), []string{"10.0.0.7"}, ""},
		{"a smaller one has it", cidr("10.0.0.0/24"), list(cidr("10.0.0.0/28")), []string{"10.0.0.7"}, ""},
		{"a smaller one has some", cidr("10.0.0.0/24"), list(cidr("10.0.0.0/28")), []string{"10.0.0.7", "10.0.0.77"}, "10.0.0.77"},
		{"another has nothing of it", cidr("10.0.0.0/24"), list(cidr("10.0.1.0/24")), []string{"10.0.0.7"}, "10.0.0.7"},
		{"one family is covered", cidr("10.0.0.0/24", "fd00::/112"), list(cidr("10.0.0.0/16")), []string{"10.0.0.7", "fd00::7"}, "fd00::7"},
		{"both are", cidr("10.0.0.0/24", "fd00::/112"), list(cidr("10.0.0.0/16"), cidr("fd00::/64")), []string{"10.0.0.7", "fd00::7"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var addresses []netip.Addr
			for _, ip := range c.addresses {
				addresses = append(addresses, netip.MustParseAddr(ip))
			}
			got := ""
			if ip := dependent(c.cidr, c.others, addresses); ip.IsValid() {
				got = ip.String()
			}
			if got != c.want {
				t.Errorf("held by %q, want %q", got, c.want)
			}
		})
	}
}
