package lb

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// family is what IPv4 and IPv6 call by different names. Each has a table of nftables and
// routing tables of its own.
type family struct {
	number int
	ip     string   // the family of the table, and the protocol in its rules
	words  []string // what the rules' other words mean
	router string   // the sysctl that lets packets pass
}

// What identifies a connection of IPv6 would be 40 bytes long. nft 1.0.6 crashes over an
// update of a map whose key is longer than 16, so two hashes stand for the addresses.
var (
	ipv4 = family{unix.AF_INET, "ip", []string{"$ADDR", "ipv4_addr", "$REDIRECT", "icmp type redirect",
		"$NO_HOST", "icmp host-unreachable", "$NO_PORT", "icmp port-unreachable",
		"$FLOW_TYPE", "ip saddr . tcp sport . ip daddr . tcp dport", "$FLOW", "ip saddr . tcp sport . ip daddr . tcp dport"}, "net/ipv4/ip_forward"}
	ipv6 = family{unix.AF_INET6, "ip6", []string{"$ADDR", "ipv6_addr", "$REDIRECT", "icmpv6 type nd-redirect",
		"$NO_HOST", "icmpv6 addr-unreachable", "$NO_PORT", "icmpv6 port-unreachable",
		"$FLOW_TYPE", "numgen random mod 4294967295 . numgen random mod 4294967295 . tcp sport . tcp dport",
		"$FLOW", "jhash ip6 saddr . ip6 daddr mod 4294967295 seed 0x1 . jhash ip6 saddr . ip6 daddr mod 4294967295 seed 0x2 . tcp sport . tcp dport"}, "net/ipv6/conf/all/forwarding"}
	bothFamilies = []family{ipv4, ipv6}
)

// familiesOf are those of a pool's networks.
func familiesOf(pool []netip.Prefix) (all []family) {
	for _, f := range bothFamilies {
		if slices.ContainsFunc(pool, func(p netip.Prefix) bool { return f.has(p.Addr()) }) {
			all = append(all, f)
		}
	}
	return all
}

func (f family) has(a netip.Addr) bool { return a.Is4() == (f.number == unix.AF_INET) }

// text puts the family's words into rules.
func (f family) text(rules string) string {
	return strings.NewReplacer(append([]string{"$IP", f.ip}, f.words...)...).Replace(rules)
}
