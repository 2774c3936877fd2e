package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/host"
)

func TestPeers(t *testing.T) {
	node := func(name, podCIDRs string, addresses ...corev1.NodeAddress) *corev1.Node {
		cidrs := strings.Fields(podCIDRs)
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: cidrs[0], PodCIDRs: cidrs},
			Status: corev1.NodeStatus{Addresses: addresses},
		}
	}
	internal := func(a string) corev1.NodeAddress { return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a} }
	external := corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.1"}
	got := Peers([]*corev1.Node{
		node("self", "10.244.0.0/24", internal("172.30.0.11")),
		node("other", "10.244.1.0/24", external, internal("fd00::12"), internal("172.30.0.12")),
		node("both", "10.244.4.0/24 fd00:10:244:4::/64", internal("172.30.0.14"), internal("fd00::14")),
		{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{internal("172.30.0.15")}}},
		node("nowhere", "10.244.3.0/24", external),
	}, "self")
	want := []Peer{
		{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParseAddr("172.30.0.12"), netip.MustParseAddr("fd00::12")},
		{netip.MustParsePrefix("10.244.4.0/24"), netip.MustParseAddr("172.30.0.14"), netip.MustParseAddr("172.30.0.14")},
		{netip.MustParsePrefix("fd00:10:244:4::/64"), netip.MustParseAddr("fd00::14"), netip.MustParseAddr("172.30.0.14")},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// machines are two of them on one wire.
type machines [2]*host.Host

// wireAddrs are theirs, of both families, and podCIDRs their Pods'.
var (
	wireAddrs = [2][2]string{{"172.30.0.11", "fd00:10:30::11"}, {"172.30.0.12", "fd00:10:30::12"}}
	podCIDRs  = [2][2]string{{"10.244.1.0/24", "fd00:10:244:1::/64"}, {"10.244.2.0/24", "fd00:10:244:2::/64"}}
)

// setup joins a machine to the Pod network, with its first or both families, its tunnel
// at the address that is given.
func (m machines) setup(t *testing.T, i int, tunnel string, families []int, vxlan *VXLAN) *Network {
	t.Helper()
	var cidrs []netip.Prefix
	for _, f := range families {
		cidrs = append(cidrs, netip.MustParsePrefix(podCIDRs[i][f]))
	}
	n, err := Setup(Config{Host: m[i], Node: netip.MustParseAddr(tunnel), PodCIDRs: cidrs, StateDir: t.TempDir(), VXLAN: vxlan})
	must(t, err)
	return n
}

// peers of one machine are the other one.
func peers(i int, families []int) (all []Peer) {
	for _, f := range families {
		all = append(all, Peer{netip.MustParsePrefix(podCIDRs[1-i][f]), netip.MustParseAddr(wireAddrs[1-i][f]), netip.MustParseAddr(wireAddrs[1-i][families[0]])})
	}
	return all
}

func newMachines(t *testing.T) (m machines) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, for network namespaces")
		}
		t.Skip("needs root, for network namespaces")
	}
	for i := range m {
		h, err := host.Create(fmt.Sprintf("machine%d", i+1), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		m[i] = h
	}
	m.plug(t)
	return m
}

// plug connects the two with a new cable.
func (m machines) plug(t *testing.T) {
	t.Helper()
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(m[1].NetNS().Fd())}
	links, err := m[0].Links()
	must(t, err)
	must(t, links.LinkAdd(cable))
	for i, h := range m {
		links, err := h.Links()
		must(t, err)
		eth0, err := links.LinkByName("eth0")
		must(t, err)
		must(t, links.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(wireAddrs[i][0] + "/24"))}))
		must(t, links.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(wireAddrs[i][1] + "/64")), Flags: unix.IFA_F_NODAD}))
		must(t, links.LinkSetUp(eth0))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWays sends from one machine to a Pod's addresses of the other.
func TestWays(t *testing.T) {
	vxlan := &VXLAN{ID: 1, Port: 8472}
	for _, row := range []struct {
		name     string
		families []int
		vxlan    *VXLAN
	}{
		{"routes", []int{0}, nil}, {"routes of both families", []int{0, 1}, nil},
		{"vxlan", []int{0}, vxlan}, {"vxlan for both families", []int{0, 1}, vxlan}, {"vxlan over IPv6", []int{1, 0}, vxlan},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newMachines(t)
			var nets [2]*Network
			for i := range m {
				nets[i] = m.setup(t, i, wireAddrs[i][row.families[0]], row.families, row.vxlan)
				// A route that a crashed agent left, to a node that is gone.
				must(t, nets[i].links.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("10.244.9.0/24")), Gw: net.ParseIP(wireAddrs[1-i][0]), Protocol: protocol}))
			}
			arrive := func() {
				t.Helper()
				for i := range nets {
					must(t, nets[i].Reach(peers(i, row.families)))
				}
				for _, f := range row.families {
					m.connect(t, netip.AddrPortFrom(netip.MustParsePrefix(podCIDRs[1][f]).Addr().Next(), 80).String())
				}
			}
			arrive()
			if links, err := m[0].Links(); err != nil {
				t.Fatal(err)
			} else if _, err := links.RouteGet(net.ParseIP("10.244.9.1")); err == nil {
				t.Error("the route to a node that is gone is still there")
			}
			// The cable is pulled, and another one put in.
			eth0, err := nets[0].links.LinkByName("eth0")
			must(t, err)
			must(t, nets[0].links.LinkDel(eth0))
			m.plug(t)
			arrive()
			must(t, nets[0].Reach(nil))
			if left := entries(t, nets[0]); len(left) > 0 {
				t.Errorf("entries of a node that is gone: %v", left)
			}
			for i := range nets {
				must(t, nets[i].Teardown())
			}
		})
	}
}

// connect has the first machine connect to an address of the second.
func (m machines) connect(t *testing.T, address string) {
	t.Helper()
	listener, err := m[1].Listen(t.Context(), "tcp", address)
	must(t, err)
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := m[0].Dial(ctx, "tcp", address)
	must(t, err)
	must(t, conn.Close())
}

// entries are what the kernel has been told of other nodes.
func entries(t *testing.T, n *Network) (all []string) {
	routes, err := n.links.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	must(t, err)
	for _, r := range routes {
		all = append(all, r.String())
	}
	if n.ways.vxlan == nil {
		return all
	}
	for _, family := range []int{netlink.FAMILY_ALL, unix.AF_BRIDGE} {
		known, err := n.links.NeighList(n.ways.vxlan.Attrs().Index, family)
		must(t, err)
		for _, e := range known {
			if e.State == netlink.NUD_PERMANENT {
				all = append(all, e.String())
			}
		}
	}
	return all
}

// TestVXLANNeedsTheNodesAddress: without it nobody could answer.
func TestVXLANNeedsTheNodesAddress(t *testing.T) {
	m := newMachines(t)
	_, err := Setup(Config{Host: m[0], Node: netip.MustParseAddr("172.30.0.99"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, VXLAN: &VXLAN{ID: 1, Port: 8472}})
	want := "set up vxlan.orrery: no interface has the node's address 172.30.0.99"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
