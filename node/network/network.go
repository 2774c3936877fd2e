// Package network is a node's part of the Pod network: the bridge that its Pods
// hang on, the addresses they get, and the routes to the Pods of other nodes.
//
// Upstream counterpart: a CNI plugin (bridge with host-local) and whatever writes
// the routes, such as kindnet or a cloud's route controller. In flows the node's
// podCIDR and the other Nodes' podCIDRs and addresses; out flow links, addresses and
// routes in the node's network namespace.
//
// A Pod's eth0 has an address of the /24 but no route to it, only one to the
// gateway, which is the bridge. So packets between two Pods of a node are routed by
// the node, never bridged past it, and the answer of a Pod that was reached through a
// ClusterIP finds its way back through the node's address translation. The bridge
// plugin needs the kernel module br_netfilter for that; this works without it,
// and just the same where it is loaded.
//
// Left out: IPv6, MTU discovery, an overlay (nodes must reach each other directly).
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// BridgeName is the bridge's, as with kubenet of old.
const BridgeName = "cbr0"

// Network is the Pod network of one node. Safe for concurrent use.
type Network struct {
	Pool *Pool

	host   *host.Host
	links  *netlink.Handle
	bridge int // index of the bridge
	mu     sync.Mutex
	routes map[netip.Prefix]netip.Addr // to other nodes, as programmed

	portsMu   sync.Mutex
	hostPorts map[string][]HostPort // by the uid of their Pod; nil: there never was one
}

// Setup makes the bridge and lets the node forward packets. It may be called again
// after a crash: what a previous agent left on the bridge is removed. stateDir
// remembers the last address handed out.
func Setup(h *host.Host, podCIDR netip.Prefix, stateDir string) (*Network, error) {
	pool, err := NewPool(podCIDR, filepath.Join(stateDir, "last-address"))
	if err != nil {
		return nil, err
	}
	links, err := h.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	n := &Network{Pool: pool, host: h, links: links, routes: map[netip.Prefix]netip.Addr{}}
	if err := n.setupBridge(); err != nil {
		return nil, fmt.Errorf("set up bridge %s: %w", BridgeName, err)
	}
	if err := h.Do(setForwarding); err != nil {
		return nil, err
	}
	return n, n.removeLeftovers()
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
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(n.Pool.Gateway(), n.Pool.prefix.Bits()))}
	if err := n.links.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("add address %s: %w", addr.IPNet, err)
	}
	return n.links.LinkSetUp(link)
}

// setForwarding turns the node into a router. Redirects are off because Pods of
// one node must go through it to each other.
func setForwarding() error {
	for name, value := range map[string]string{
		"ipv4/ip_forward":                             "1",
		"ipv4/conf/all/send_redirects":                "0",
		"ipv4/conf/" + BridgeName + "/send_redirects": "0",
	} {
		path := "/proc/sys/net/" + name
		if now, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(now)) == value {
			continue // where /proc/sys is read-only the container's maker has to set it
		}
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("set net.%s=%s: %w", strings.ReplaceAll(name, "/", "."), value, err)
		}
	}
	return nil
}

// removeLeftovers deletes the bridge's ports, all of Pods of an agent that crashed.
func (n *Network) removeLeftovers() error {
	all, err := n.links.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, link := range all {
		if link.Attrs().MasterIndex == n.bridge {
			errs = append(errs, ignoreMissing(n.links.LinkDel(link)))
		}
	}
	return errors.Join(errs...)
}

// Teardown deletes the bridge and the routes to other nodes. It is the last call.
func (n *Network) Teardown() error {
	defer n.links.Close()
	return errors.Join(
		n.SetRoutes(nil),
		ignoreMissing(n.links.LinkDel(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: BridgeName, Index: n.bridge}})),
	)
}

// SetRoutes makes the routes to the other nodes' Pods exactly those in want: from
// each podCIDR to the address of its node.
func (n *Network) SetRoutes(want map[netip.Prefix]netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for dst := range n.routes {
		if _, keep := want[dst]; keep {
			continue
		}
		err := n.links.RouteDel(&netlink.Route{Dst: ipNet(dst)})
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("delete route to %s: %w", dst, err))
			continue
		}
		delete(n.routes, dst)
	}
	for dst, via := range want {
		if n.routes[dst] == via {
			continue
		}
		err := n.links.RouteReplace(&netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice()})
		if err != nil {
			errs = append(errs, fmt.Errorf("add route to %s via %s: %w", dst, via, err))
			continue
		}
		n.routes[dst] = via
	}
	return errors.Join(errs...)
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
