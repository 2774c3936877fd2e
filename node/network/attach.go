package network

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// podInterface is what a Pod sees of the pair.
const podInterface = "eth0"

// LinkName is the node's end of a Pod's veth pair. An interface's name has at most
// 15 letters, so the Pod's uid is hashed.
func LinkName(podUID string) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(podUID)) // cannot fail
	return fmt.Sprintf("veth%08x", hash.Sum32())
}

// Attach connects a Pod's network namespace to the bridge and gives it the address.
func (n *Network) Attach(pod *host.Host, linkName string, addr netip.Addr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = linkName
	attrs.MasterIndex = n.bridge
	attrs.Flags = net.FlagUp
	attrs.MTU = n.mtu
	veth := &netlink.Veth{
		LinkAttrs:     attrs,
		PeerName:      podInterface,
		PeerMTU:       uint32(n.mtu),
		PeerNamespace: netlink.NsFd(pod.NetNS().Fd()),
	}
	if err := n.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth pair %s: %w", linkName, err)
	}
	// A Pod may reach itself through its own Service. Where br_netfilter is loaded
	// such a packet leaves by the port that it came in, which a bridge refuses otherwise.
	if err := n.links.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("set hairpin mode of %s: %w", linkName, err)
	}
	// The handle is used once: keeping it would cost a descriptor per Pod.
	links, err := pod.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	if err := n.configurePod(links, addr); err != nil {
		return fmt.Errorf("configure %s in %s: %w", podInterface, pod.Name(), err)
	}
	return nil
}

// configurePod sets up lo and eth0 inside the Pod.
func (n *Network) configurePod(links *netlink.Handle, addr netip.Addr) error {
	lo, err := links.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := links.LinkSetUp(lo); err != nil {
		return err
	}
	eth0, err := links.LinkByName(podInterface)
	if err != nil {
		return err
	}
	// Without the prefix route the /24 is only the address's looks: see the package comment.
	err = links.AddrAdd(eth0, &netlink.Addr{
		IPNet: ipNet(netip.PrefixFrom(addr, n.Pool.prefix.Bits())),
		Flags: unix.IFA_F_NOPREFIXROUTE,
	})
	if err != nil {
		return fmt.Errorf("add address %s: %w", addr, err)
	}
	if err := links.LinkSetUp(eth0); err != nil {
		return err
	}
	index, gateway := eth0.Attrs().Index, n.Pool.Gateway()
	toGateway := &netlink.Route{
		LinkIndex: index, Scope: netlink.SCOPE_LINK,
		Dst: ipNet(netip.PrefixFrom(gateway, gateway.BitLen())), Src: addr.AsSlice(),
	}
	if err := links.RouteAdd(toGateway); err != nil {
		return fmt.Errorf("add route to %s: %w", gateway, err)
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if err := links.RouteAdd(&netlink.Route{LinkIndex: index, Dst: ipNet(everywhere), Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("add default route via %s: %w", gateway, err)
	}
	return nil
}

// Detach removes a Pod's link; its end in the Pod goes with it.
func (n *Network) Detach(linkName string) error {
	link, err := n.links.LinkByName(linkName)
	if err == nil {
		err = n.links.LinkDel(link)
	}
	if err = ignoreMissing(err); err != nil {
		return fmt.Errorf("delete %s: %w", linkName, err)
	}
	return nil
}
