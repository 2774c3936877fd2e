// Package network is a node's part of the Pod network: the bridge that its Pods
// hang on, the addresses they get, and the routes to the Pods of other nodes.
//
// Upstream counterpart: a CNI plugin (bridge with host-local) and whatever writes
// the routes, such as kindnet or a cloud's route controller. In flows the node's
// podCIDR and the other Nodes' podCIDRs and addresses; out flow links, addresses and
// routes in the node's network namespace.
//
// With two podCIDRs, one of each family, everything is there twice: addresses, routes and
// rules. A Pod's eth0 has an address of the /24 (or /64) but no route to it, only one to the
// gateway, which is the bridge. So packets between two Pods of a node are routed by
// the node, never bridged past it, and the answer of a Pod that was reached through a
// ClusterIP finds its way back through the node's address translation. The bridge
// plugin needs the kernel module br_netfilter for that; this works without it,
// and just the same where it is loaded.
//
// Between nodes a packet goes as it is, by a route to the Pods' node (flannel's host-gw),
// or, where the network in between is not ours and drops what it does not know, in a
// VXLAN packet from node to node (flannel's vxlan).
//
// Left out: path MTU discovery, encryption.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// BridgeName is the bridge's, as with kubenet of old.
const BridgeName = "cbr0"

// Network is the Pod network of one node. Safe for concurrent use.
type Network struct {
	Pools Pools

	host   *host.Host
	links  *netlink.Handle
	bridge int // index of the bridge
	mtu    int // of Pods' links; 0: the kernel's default
	ways   *Ways

	portsMu   sync.Mutex
	hostPorts map[string][]HostPort // by the uid of their Pod; nil: there never was one
}

// Config of a node's part of the Pod network.
type Config struct {
	Host     *host.Host
	Node     netip.Addr      // the node's address, the first if it has several
	PodCIDRs []netip.Prefix  // the addresses of its Pods: one range, or one of each family
	StateDir string          // remembers the last addresses handed out
	VXLAN    *VXLAN          // nil: routes
	Keep     map[string]bool // links of Pods that go on from before
}

// Setup makes the bridge and lets the node forward packets. It may be called again
// after a crash: what a previous agent left on the bridge is removed.
func Setup(c Config) (*Network, error) {
	pools, err := NewPools(c.PodCIDRs, filepath.Join(c.StateDir, "last-address"))
	if err != nil {
		return nil, err
	}
	links, err := c.Host.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	n := &Network{Pools: pools, host: c.Host, links: links}
	if c.VXLAN == nil {
		n.ways = Direct(links)
	} else if n.ways, n.mtu, err = c.VXLAN.setup(links, c.Node, c.PodCIDRs); err != nil {
		return nil, fmt.Errorf("set up %s: %w", VXLANName, err)
	}
	if err := n.setupBridge(); err != nil {
		return nil, fmt.Errorf("set up bridge %s: %w", BridgeName, err)
	}
	if err := n.setForwarding(); err != nil {
		return nil, err
	}
	return n, n.removeLeftovers(c.Keep)
}

func (n *Network) setupBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = BridgeName
	if err := n.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	link, err := n.links.LinkByName(BridgeName)
	if err != nil {
		return err
	}
	n.bridge = link.Attrs().Index
	for _, pool := range n.Pools {
		gateway := pool.Gateway()
		addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(gateway, pool.prefix.Bits())), Flags: addFlags(gateway)}
		if err := n.links.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", addr.IPNet, explain(n.host, gateway, err))
		}
	}
	return n.links.LinkSetUp(link)
}

// setForwarding turns the node into a router.
func (n *Network) setForwarding() error {
	for _, pool := range n.Pools {
		for _, s := range familyOf(pool.Gateway()).routing {
			if err := n.host.SetSysctl(s.name, s.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeLeftovers deletes the bridge's ports that nobody has any more.
func (n *Network) removeLeftovers(keep map[string]bool) error {
	all, err := n.links.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, link := range all {
		if link.Attrs().MasterIndex == n.bridge && !keep[link.Attrs().Name] {
			errs = append(errs, ignoreMissing(n.links.LinkDel(link)))
		}
	}
	return errors.Join(errs...)
}

// Reach makes the ways to the Pods of other nodes exactly those.
func (n *Network) Reach(peers []Peer) error { return n.ways.Set(peers) }

// Leave leaves all as it is, for Pods that go on without the agent. It is the last call.
func (n *Network) Leave() { n.links.Close() }

// Teardown deletes the bridge and the ways to other nodes. It is the last call.
func (n *Network) Teardown() error {
	defer n.links.Close()
	return errors.Join(
		n.ways.Close(),
		ignoreMissing(n.links.LinkDel(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: BridgeName, Index: n.bridge}})),
	)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// ignoreMissing is for deletions: what is gone already is as wanted.
func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	return err
}
