package proxy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// nodeChanged asks for new plans when something about this node changed that plans
// depend on: its zone, its addresses, its Pod CIDR.
func (p *Proxy) nodeChanged(n *corev1.Node, deleted bool) {
	p.health.nodeSeen(n, deleted)
	parts := []string{n.Labels[corev1.LabelTopologyZone], n.Spec.PodCIDR}
	for _, a := range n.Status.Addresses {
		parts = append(parts, string(a.Type), a.Address)
	}
	if seen := strings.Join(parts, "|"); seen != p.nodeFacts {
		p.nodeFacts = seen
		p.queue.addAll()
	}
}

// nodePortIPs are the addresses NodePorts answer on; nil means all there are. The mode
// nftables takes the primary one where nothing is said, as upstream's does (P31).
func (p *Proxy) nodePortIPs(f *family) []netip.Addr {
	primary := slices.Contains(p.cfg.NodePortAddresses, "primary")
	if len(p.cfg.NodePortAddresses) == 0 {
		if f.mode.name != ModeNFTables {
			return nil
		}
		primary = true
	}
	ips := []netip.Addr{}
	if primary && f.node.IP.IsValid() {
		ips = append(ips, f.node.IP)
	}
	prefixes, _ := p.cfg.nodePortPrefixes() // validated
	for _, addr := range localAddrs(p.cfg.Host, f.name) {
		if slices.ContainsFunc(prefixes, func(n netip.Prefix) bool { return n.Contains(addr) }) {
			ips = append(ips, addr)
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return slices.Compact(ips)
}

// localAddrs are the addresses of a place's interfaces.
func localAddrs(h *host.Host, family plan.Family) []netip.Addr {
	links, err := h.Links()
	if err != nil {
		return nil
	}
	nlFamily := netlink.FAMILY_V4
	if family == plan.IPv6 {
		nlFamily = netlink.FAMILY_V6
	}
	addrs, err := links.AddrList(nil, nlFamily)
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.IsLinkLocalUnicast() {
			out = append(out, ip.Unmap())
		}
	}
	return out
}
