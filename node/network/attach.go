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

// Attach connects a Pod's network namespace to the bridge and gives it the addresses.
func (n *Network) Attach(pod *host.Host, linkName string, addrs []netip.Addr) error {
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
	if err := n.configurePod(pod, links, addrs); err != nil {
		return fmt.Errorf("configure %s in %s: %w", podInterface, pod.Name(), err)
	}
	return nil
}

// configurePod sets up lo and eth0 inside the Pod.
func (n *Network) configurePod(pod *host.Host, links *netlink.Handle, addrs []netip.Addr) error {
	for _, name := range []string{"lo", podInterface} {
		link, err := links.LinkByName(name)
		if err != nil {
			return err
		}
		if err := links.LinkSetUp(link); err != nil {
			return err
		}
		if name == "lo" {
			continue
		}
		for _, addr := range addrs {
			if err := n.configureAddress(links, link, addr); err != nil {
				return explain(pod, addr, err)
			}
		}
	}
	return nil
}

// configureAddress gives eth0 an address, and routes of its family by way of the gateway.
func (n *Network) configureAddress(links *netlink.Handle, eth0 netlink.Link, addr netip.Addr) error {
	pool := n.Pools.of(addr)
	if pool == nil {
		return fmt.Errorf("no podCIDR of this node has the address %s", addr)
	}
	// Without the prefix route the /24 is only the address's looks: see the package comment.
	err := links.AddrAdd(eth0, &netlink.Addr{
		IPNet: ipNet(netip.PrefixFrom(addr, pool.prefix.Bits())),
		Flags: unix.IFA_F_NOPREFIXROUTE | addFlags(addr),
	})
	if err != nil {
		return fmt.Errorf("add address %s: %w", addr, err)
	}
	index, gateway := eth0.Attrs().Index, pool.Gateway()
	toGateway := &netlink.Route{
		LinkIndex: index, Scope: netlink.SCOPE_LINK,
		Dst: ipNet(netip.PrefixFrom(gateway, gateway.BitLen())), Src: addr.AsSlice(),
	}
	if err := links.RouteAdd(toGateway); err != nil {
		return fmt.Errorf("add route to %s: %w", gateway, err)
	}
	if err := links.RouteAdd(&netlink.Route{LinkIndex: index, Dst: ipNet(everywhere(addr)), Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("add default route via %s: %w", gateway, err)
	}
	return nil
}

// everywhere is all addresses of a family.
func everywhere(of netip.Addr) netip.Prefix {
	all, _ := of.Prefix(0) // cannot fail
	return all
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
