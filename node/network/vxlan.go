package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// VXLANName is the interface at which the tunnels to all other nodes begin.
const VXLANName = "vxlan.orrery"

// vxlanOverhead is what a VXLAN packet to the address adds: Ethernet, IP, UDP and VXLAN
// headers.
func vxlanOverhead(to netip.Addr) int {
	if to.Is4() {
		return 14 + 20 + 8 + 8
	}
	return 14 + 40 + 8 + 8
}

// VXLAN is how packets get to the Pods of other nodes over a network that knows nothing
// of them: each in a UDP packet between the nodes' own addresses.
//
// To the kernel it looks like one Ethernet segment that all nodes are on, each with the
// first address of its podCIDR (10.244.1.0). Nothing is learned by flooding: a route says
// which of those addresses has the Pods, a neighbour entry which MAC address that is, and
// a forwarding entry in which node's packets to wrap frames for that MAC address.
//
// Upstream counterpart: flannel's vxlan backend.
// Kubernetes: flannel announces a random MAC address in an annotation of the Node; here
// it follows from the node's address, so that there is nothing to announce.
type VXLAN struct {
	ID   int
	Port int
}

// setup makes the interface, and returns the ways through it and the MTU that is left.
func (v *VXLAN) setup(links *netlink.Handle, node netip.Addr, podCIDRs []netip.Prefix) (*Ways, int, error) {
	uplink, err := linkWith(links, node)
	if err != nil {
		return nil, 0, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = VXLANName
	attrs.HardwareAddr = tunnelMAC(node)
	attrs.MTU = uplink.Attrs().MTU - vxlanOverhead(node)
	// It is not bound to the uplink: it would be lost with it when that is unplugged.
	link := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: v.ID, SrcAddr: node.AsSlice(), Port: v.Port,
	}
	// One that a crashed agent left may have other settings.
	if old, err := links.LinkByName(VXLANName); err == nil {
		if err := links.LinkDel(old); err != nil {
			return nil, 0, fmt.Errorf("delete the old one: %w", err)
		}
	}
	if err := links.LinkAdd(link); err != nil {
		return nil, 0, err
	}
	made, err := links.LinkByName(VXLANName)
	if err != nil {
		return nil, 0, err
	}
	for _, podCIDR := range podCIDRs {
		own := tunnelAddr(podCIDR)
		addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(own, own.BitLen())), Flags: addFlags(own)}
		if err := links.AddrReplace(made, addr); err != nil {
			return nil, 0, fmt.Errorf("add address %s: %w", own, err)
		}
	}
	return &Ways{links: links, vxlan: made}, attrs.MTU, links.LinkSetUp(made)
}

// linkWith is the interface that has the address.
func linkWith(links *netlink.Handle, addr netip.Addr) (netlink.Link, error) {
	addrs, err := links.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.IP.Equal(addr.AsSlice()) {
			return links.LinkByIndex(a.LinkIndex)
		}
	}
	return nil, fmt.Errorf("no interface has the node's address %s", addr)
}

// tunnelAddr is a node's address on the segment. No Pod has it.
func tunnelAddr(podCIDR netip.Prefix) netip.Addr { return podCIDR.Masked().Addr() }

// tunnelMAC is a node's MAC address on the segment: a locally administered one that
// holds the end of the node's own address.
func tunnelMAC(node netip.Addr) net.HardwareAddr {
	addr := node.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x58}, addr[len(addr)-4:]...)
}

// introduce tells the kernel which MAC address the peer has on the segment, and where
// frames for it go.
func (w *Ways) introduce(peer Peer) error {
	index, mac := w.vxlan.Attrs().Index, tunnelMAC(peer.Tunnel)
	err := w.links.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
		HardwareAddr: mac, IP: peer.Tunnel.AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("say where %s is: %w", mac, err)
	}
	err = w.links.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: familyOf(peer.Addr).number, State: netlink.NUD_PERMANENT,
		HardwareAddr: mac, IP: tunnelAddr(peer.PodCIDR).AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("say who %s is: %w", tunnelAddr(peer.PodCIDR), err)
	}
	return nil
}

// forget removes what introduce made for the peer with that address on the segment. Where
// its frames go is forgotten with the last of its addresses.
func (w *Ways) forget(addr net.IP) error {
	index := w.vxlan.Attrs().Index
	known, err := w.links.NeighList(index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	is := func(n netlink.Neigh) bool { return n.IP.Equal(addr) }
	i := slices.IndexFunc(known, is)
	if i < 0 {
		return nil
	}
	mac, gone := known[i].HardwareAddr, []netlink.Neigh{known[i]}
	sameMAC := func(n netlink.Neigh) bool { return bytes.Equal(n.HardwareAddr, mac) }
	if !slices.ContainsFunc(slices.Delete(known, i, i+1), sameMAC) {
		frames, err := w.links.NeighList(index, unix.AF_BRIDGE)
		if err != nil {
			return fmt.Errorf("list where frames go: %w", err)
		}
		for _, n := range frames {
			if sameMAC(n) {
				n.Family, n.Flags = unix.AF_BRIDGE, netlink.NTF_SELF
				gone = append(gone, n)
			}
		}
	}
	var errs []error
	for _, entry := range gone {
		if err := w.links.NeighDel(&entry); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("forget %s: %w", mac, err))
		}
	}
	return errors.Join(errs...)
}
