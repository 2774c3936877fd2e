package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// The node network. Every machine of the lab is a network namespace with one
// interface, eth0, on the same bridge. The bridge has a namespace to itself, so
// that the machine underneath gets no interface, route or rule.
//
//	control-plane   loadbalancer   node1         node2         outside
//	172.30.0.2      172.30.0.3     172.30.0.11   172.30.0.12   172.30.0.200
//	    └───────────────┴─────── switch ──┴─────────────┴────────────┘
//
// The switch is everybody's default gateway too, at .1. It has no way on, so it says
// at once that a network is unreachable. Without a default route a node could not
// even begin to send to a ClusterIP: the kernel looks for a route before the proxy's
// rules change the destination. One way it knows beyond its own network: the addresses
// of load balancers are behind the machine loadbalancer.
var (
	gatewayAddress      = netip.MustParseAddr("172.30.0.1")
	nodeNetwork         = netip.MustParsePrefix("172.30.0.0/24")
	controlPlaneAddress = netip.MustParseAddr("172.30.0.2")
	balancerAddress     = netip.MustParseAddr("172.30.0.3")
	balancerPool        = netip.MustParsePrefix("172.30.100.0/24")
	firstNodeAddress    = netip.MustParseAddr("172.30.0.11")
	outsideAddress      = netip.MustParseAddr("172.30.0.200")
)

// maxNodes keeps node addresses below outside's.
const maxNodes = 180

// The places of the lab that are not nodes.
const (
	controlPlane = "control-plane"
	balancer     = "loadbalancer"
	outside      = "outside"
)

// nodeName and nodeAddress give the i-th node's, from 1.
func nodeName(i int) string { return fmt.Sprintf("node%d", i) }

func nodeAddress(i int) netip.Addr {
	a := firstNodeAddress.As4()
	a[3] += byte(i - 1)
	return netip.AddrFrom4(a)
}

// fabric is the wiring: the switch and the machines plugged into it.
type fabric struct {
	wire   *host.Host // the namespace that holds the bridge
	bridge netlink.Link
	hosts  map[string]*host.Host
}

// newFabric makes the switch, and the machines on it.
func newFabric(c Config) (_ *fabric, err error) {
	f := &fabric{hosts: map[string]*host.Host{}}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if f.wire, err = host.Create("switch", nil); err != nil {
		return nil, err
	}
	links, err := f.wire.Links()
	if err != nil {
		return nil, err
	}
	f.bridge = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "switch"}}
	if err := links.LinkAdd(f.bridge); err != nil {
		return nil, fmt.Errorf("make the bridge of the node network: %w", err)
	}
	if err := f.configureSwitch(c); err != nil {
		return nil, fmt.Errorf("configure the switch: %w", err)
	}
	machines := map[string]netip.Addr{controlPlane: controlPlaneAddress, balancer: balancerAddress, outside: outsideAddress}
	for i := 1; i <= c.Nodes; i++ {
		machines[nodeName(i)] = nodeAddress(i)
	}
	if c.FakeNodes > 0 {
		machines[fakes] = fakesAddress
	}
	for name, addr := range machines {
		if err := f.attach(name, c.addresses(addr)); err != nil {
			return nil, fmt.Errorf("attach %s to the node network: %w", name, err)
		}
	}
	return f, nil
}

// attach makes a machine and plugs it in. Its port on the switch has its name.
func (f *fabric) attach(name string, addrs []netip.Addr) error {
	h, err := host.Create(name, nil)
	if err != nil {
		return err
	}
	f.hosts[name] = h
	wire, err := f.wire.Links()
	if err != nil {
		return err
	}
	port := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: name, MasterIndex: f.bridge.Attrs().Index},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(h.NetNS().Fd()),
	}
	if err := wire.LinkAdd(port); err != nil {
		return fmt.Errorf("make the cable: %w", err)
	}
	if err := wire.LinkSetUp(port); err != nil {
		return fmt.Errorf("start the port: %w", err)
	}
	if err := configure(h, "eth0", addrs); err != nil {
		return err
	}
	links, err := h.Links()
	if err != nil {
		return err
	}
	// The kernel sends at most one refusal a second to each address, so that the second
	// curl to a Service without endpoints would wait for it. Not in a lesson.
	for i, limit := range []string{"net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"}[:len(addrs)] {
		if err := h.SetSysctl(limit, "0"); err != nil {
			return err
		}
		gateway := []netip.Addr{gatewayAddress, six(gatewayAddress)}[i]
		if err := links.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("add the default route: %w", err)
		}
	}
	return nil
}

// configureSwitch makes the bridge the gateway. Only a router reports that it has no
// route; a host would drop the packet in silence. Who sends to a load balancer's address
// is not told of the shorter way past the gateway, so that all packets take the same one.
func (f *fabric) configureSwitch(c Config) error {
	settings := map[string]string{"ipv4/ip_forward": "1", "ipv4/conf/all/send_redirects": "0", "ipv4/conf/switch/send_redirects": "0"}
	if c.dual() {
		settings["ipv6/conf/all/forwarding"] = "1"
	}
	for name, value := range settings {
		if err := f.wire.SetSysctl("net/"+name, value); err != nil {
			return err
		}
	}
	if err := configure(f.wire, "switch", c.addresses(gatewayAddress)); err != nil {
		return err
	}
	links, err := f.wire.Links()
	if err != nil {
		return err
	}
	for i, pool := range families(c, balancerPool, balancerPool6) {
		way := &netlink.Route{Dst: ipNet(pool), Gw: c.addresses(balancerAddress)[i].AsSlice()}
		if err := links.RouteAdd(way); err != nil {
			return fmt.Errorf("add the route to the load balancer: %w", err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// configure gives a machine its loopback and an interface its addresses. Those of IPv6 are
// good at once: nobody else has them, and to ask around would take a second.
func configure(h *host.Host, name string, addrs []netip.Addr) error {
	links, err := h.Links()
	if err != nil {
		return err
	}
	for _, name := range []string{"lo", name} {
		link, err := links.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := links.LinkSetUp(link); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		if name == "lo" {
			continue
		}
		for i, addr := range addrs {
			address := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, nodeNetwork.Bits()))}
			if i > 0 {
				address.IPNet, address.Flags = ipNet(netip.PrefixFrom(addr, nodeNetwork6.Bits())), unix.IFA_F_NODAD
			}
			if err := links.AddrAdd(link, address); err != nil {
				return fmt.Errorf("add %s to %s: %w", addr, name, err)
			}
		}
	}
	return nil
}

// Close removes the network. The kernel takes interfaces away with their namespace.
func (f *fabric) Close() {
	for _, h := range f.hosts {
		h.Close()
	}
	f.wire.Close()
}
