package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// VXLANName is the interface at which the tunnels to all other nodes begin.
const VXLANName = "vxlan.orrery"

// vxlanOverhead is what a VXLAN packet adds: Ethernet, IPv4, UDP and VXLAN headers.
const vxlanOverhead = 50

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
func (v *VXLAN) setup(links *netlink.Handle, node netip.Addr, podCIDR netip.Prefix) (*Ways, int, error) {
	uplink, err := linkWith(links, node)
	if err != nil {
		return nil, 0, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = VXLANName
	attrs.HardwareAddr = tunnelMAC(node)
	attrs.MTU = uplink.Attrs().MTU - vxlanOverhead
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
	own := netip.PrefixFrom(tunnelAddr(podCIDR), 32)
	if err := links.AddrReplace(made, &netlink.Addr{IPNet: ipNet(own)}); err != nil {
		return nil, 0, fmt.Errorf("add address %s: %w", own, err)
	}
	return &Ways{links: links, vxlan: made}, attrs.MTU, links.LinkSetUp(made)
}

// linkWith is the interface that has the address.
func linkWith(links *netlink.Handle, addr netip.Addr) (netlink.Link, error) {
	addrs, err := links.AddrList(nil, netlink.FAMILY_V4)
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
// holds the node's own address.
func tunnelMAC(node netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x0a, 0x58}, node.AsSlice()...)
}

// introduce tells the kernel which MAC address the peer has on the segment, and where
// frames for it go.
func (w *Ways) introduce(peer Peer) error {
	index, mac := w.vxlan.Attrs().Index, tunnelMAC(peer.Addr)
	err := w.links.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
		HardwareAddr: mac, IP: peer.Addr.AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("say where %s is: %w", mac, err)
	}
	err = w.links.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
		HardwareAddr: mac, IP: tunnelAddr(peer.PodCIDR).AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("say who %s is: %w", tunnelAddr(peer.PodCIDR), err)
	}
	return nil
}

// forget removes what introduce made for the peer with that address on the segment.
func (w *Ways) forget(addr net.IP) error {
	known, err := w.links.NeighList(w.vxlan.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	var errs []error
	for _, n := range known {
		if !n.IP.Equal(addr) {
			continue
		}
		frames := &netlink.Neigh{
			LinkIndex: n.LinkIndex, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
			HardwareAddr: n.HardwareAddr, IP: net.IP(n.HardwareAddr[2:]),
		}
		for _, entry := range []*netlink.Neigh{&n, frames} {
			if err := w.links.NeighDel(entry); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("forget %s: %w", n.HardwareAddr, err))
			}
		}
	}
	return errors.Join(errs...)
}
