package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// family is what IPv4 and IPv6 call by different names.
type family struct {
	name      string
	number    int
	iptables  string // the program; those with -save and -restore are called alike
	loopback  netip.Addr
	multicast netip.Prefix
	routing   []sysctl // what makes a machine a router
}

type sysctl struct{ name, value string }

// Redirects are off because Pods of one node must go through it to each other. (IPv6 has
// no such switch, and needs none: a Pod believes its first hop only, whose address is not
// the link-local one that redirects come from.)
var (
	ipv4 = family{"IPv4", unix.AF_INET, "iptables", netip.MustParseAddr("127.0.0.1"), netip.MustParsePrefix("224.0.0.0/4"),
		[]sysctl{{"net/ipv4/ip_forward", "1"}, {"net/ipv4/conf/all/send_redirects", "0"}, {"net/ipv4/conf/" + BridgeName + "/send_redirects", "0"}}}
	ipv6 = family{"IPv6", unix.AF_INET6, "ip6tables", netip.IPv6Loopback(), netip.MustParsePrefix("ff00::/8"),
		[]sysctl{{"net/ipv6/conf/all/forwarding", "1"}}}
)

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// addFlags are for addresses that are nobody else's, as we know: IPv6 would ask around for
// a second before it used them.
func addFlags(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return unix.IFA_F_NODAD
}

// explain says why an address could not be added, where the kernel's word is "permission
// denied".
func explain(h *host.Host, a netip.Addr, err error) error {
	if err != nil && a.Is6() && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: IPv6 is switched off in %s; set the sysctl net.ipv6.conf.all.disable_ipv6=0 there, or use IPv4 alone", err, h.Name())
	}
	if err != nil && a.Is6() && errors.Is(err, syscall.EOPNOTSUPP) {
		return fmt.Errorf("%w: this kernel was built or started without IPv6; use IPv4 alone", err)
	}
	return err
}
