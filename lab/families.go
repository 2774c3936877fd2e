package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// IP families of a lab, as kind's networking.ipFamily has them.
const (
	IPv4 = "ipv4"
	Dual = "dual"
)

// In a dual-stack lab each of the networks has a range of IPv6, too, and each machine an
// address that ends in the same digits: 172.30.0.11 and fd00:10:30::11.
var (
	nodeNetwork6       = netip.MustParsePrefix("fd00:10:30::/64")
	podNetwork6        = netip.MustParsePrefix("fd00:10:244::/56")
	serviceNetwork6    = netip.MustParsePrefix("fd00:10:96::/112")
	kubernetesService6 = netip.MustParseAddr("fd00:10:96::1")
	dnsService6        = netip.MustParseAddr("fd00:10:96::a")
	balancerPool6      = netip.MustParsePrefix("fd00:10:30:100::/112")
)

// dual says whether there is IPv6 as well.
func (c Config) dual() bool { return c.IPFamily == Dual }

// families is what there is of each family of the lab.
func families[T any](c Config, four, six T) []T {
	if c.dual() {
		return []T{four, six}
	}
	return []T{four}
}

// addresses are all that a machine has, given the one of IPv4.
func (c Config) addresses(machine netip.Addr) []netip.Addr {
	return families(c, machine, six(machine))
}

// six is the IPv6 address of the machine with this one.
func six(machine netip.Addr) netip.Addr {
	number := machine.As4()[3]
	return netip.MustParseAddr(nodeNetwork6.Addr().String() + strconv.Itoa(int(number)))
}

// texts writes addresses or networks down.
func texts[T fmt.Stringer](all []T) []string {
	var texts []string
	for _, one := range all {
		texts = append(texts, one.String())
	}
	return texts
}

// list is what flags take that may have a value of each family.
func list[T fmt.Stringer](all []T) string { return strings.Join(texts(all), ",") }

// checkFamily says whether the lab's machines can have the addresses. The machine's own
// network need not have any of IPv6: the lab's namespaces have settings of their own.
func (c Config) checkFamily() error {
	if c.IPFamily != IPv4 && c.IPFamily != Dual {
		return fmt.Errorf("unknown IP family %q: a lab is %s or %s", c.IPFamily, IPv4, Dual)
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); c.dual() && err != nil {
		return fmt.Errorf("this kernel has no IPv6 (%w), which a lab with --ip-family %s needs: start the machine without ipv6.disable=1, or the lab with --ip-family %s", err, Dual, IPv4)
	}
	return nil
}
