package forward

import (
	"net/netip"
	"slices"
	"strings"
)

// ParseResolvConf finds the upstreams in the text of a resolv.conf: those of its
// nameservers that are not excluded.
//
// A loopback address is: the file is the machine's word to its own programs, and in a
// Pod it means the Pod. There 127.0.0.53 is nobody or, where the server listens on
// every address, the server itself; that loop was the most common death of CoreDNS.
func ParseResolvConf(text string, own []netip.Addr) (upstreams, skipped []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err != nil || addr.IsLoopback() || addr.IsUnspecified() || slices.Contains(own, addr.Unmap()) {
			skipped = append(skipped, fields[1])
			continue
		}
		upstreams = append(upstreams, netip.AddrPortFrom(addr, 53).String())
	}
	return upstreams, skipped
}
