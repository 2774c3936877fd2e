// Package flowtest proves Service data planes with real packets. It builds a small
// cluster out of network namespaces, has a backend program the kernel of one of its
// nodes, and compares rows of "from here to there -> this endpoint, refused, dropped;
// source kept or rewritten" with what connections then meet. Suite is all that a data plane
// has to do; a backend's package calls it with a Plane.
//
// It is for tests of this repository only. The idea of such rows is upstream's
// (pkg/proxy/iptables and nftables, runPacketFlowTests), where a simulation walks them.
package flowtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"orrery.example.org/host"
)

// The places of the world. Pods a and b live on node1, which has the rules; Pod c lives
// on node2, which has none. outside is a machine of the node network.
const (
	NodeIP    = "172.30.0.11"
	Node2IP   = "172.30.0.12"
	OutsideIP = "172.30.0.50"
	PodCIDR   = "10.244.0.0/16"
	Port      = 8080 // every Pod answers here by TCP and UDP
)

// Addrs are the Pods' addresses.
var Addrs = map[string]string{"a": "10.244.1.2", "b": "10.244.1.3", "c": "10.244.2.2"}

// World is the cluster of namespaces.
type World struct {
	Node   *host.Host // node1
	places map[string]*host.Host
}

// Namespaces skips a test where network namespaces cannot be made, and fails it there
// if the environment says that this is a CI run, where nothing may be skipped.
func Namespaces(t testing.TB) {
	t.Helper()
	h, err := host.Create("probe", nil)
	if err == nil {
		h.Close()
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("cannot make network namespaces: %v", err)
	}
	t.Skipf("needs root or a user namespace: %v", err)
}

// NewPlace makes a network namespace that lives as long as the test.
func NewPlace(t testing.TB, name string) *host.Host {
	t.Helper()
	h, err := host.Create(name, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	links(t, h, func(l *netlink.Handle) error { return up(l, "lo") })
	return h
}

// NewWorld builds the cluster. Everything in it is gone when the test ends.
func NewWorld(t testing.TB) *World {
	t.Helper()
	Namespaces(t)
	w := &World{places: map[string]*host.Host{}}
	for _, name := range []string{"wire", "node", "node2", "outside", "a", "b", "c"} {
		w.places[name] = NewPlace(t, name)
		// Addresses of IPv6 are good at once, and nobody tells anybody a short cut.
		for _, key := range []string{"accept_dad", "accept_ra", "accept_redirects"} {
			w.sysctl(t, name, "net/ipv6/conf/default/"+key, "0")
		}
	}
	w.Node = w.places["node"]
	w.bridge(t, "wire", "wire0", "", map[string]string{
		"node": NodeIP + "/24", "node2": Node2IP + "/24", "outside": OutsideIP + "/24"})
	w.bridge(t, "node", "cni0", "10.244.1.1/24", map[string]string{"a": Addrs["a"] + "/24", "b": Addrs["b"] + "/24"})
	w.bridge(t, "node2", "cni0", "10.244.2.1/24", map[string]string{"c": Addrs["c"] + "/24"})
	for from, routes := range map[string]string{
		"a": "0.0.0.0/0 10.244.1.1", "b": "0.0.0.0/0 10.244.1.1", "c": "0.0.0.0/0 10.244.2.1",
		"node":  "10.244.2.0/24 " + Node2IP + " 0.0.0.0/0 " + OutsideIP,
		"node2": "10.244.1.0/24 " + NodeIP,
		// A client outside that knows the way to everything the node serves.
		"outside": "10.96.0.0/12 " + NodeIP + " 172.30.100.0/24 " + NodeIP + " 10.244.1.0/24 " + NodeIP + " 10.244.2.0/24 " + Node2IP,
	} {
		w.route(t, from, strings.Fields(routes))
	}
	for _, router := range []string{"node", "node2"} {
		w.sysctl(t, router, "net/ipv4/ip_forward", "1")
		w.sysctl(t, router, "net/ipv6/conf/all/forwarding", "1")
		w.sysctl(t, router, "net/ipv6/icmp/ratelimit", "0")
		// A node that sends a packet back out of the interface it came from tells its sender
		// of the short cut, and what it may tell a sender in a second is limited, so that
		// refusals would be lost.
		for _, name := range []string{"conf/all/send_redirects", "conf/eth0/send_redirects", "icmp_ratelimit"} {
			w.sysctl(t, router, "net/ipv4/"+name, "0")
		}
	}
	w.sysctl(t, "node", "net/ipv4/conf/all/route_localnet", "1")
	for name := range Addrs {
		w.answer(t, name)
	}
	w.settle(t)
	return w
}

// settle waits until the bridges forward: the kernel opens a port some time after its
// link is up, and loses what comes before.
func (w *World) settle(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for name, addr := range Addrs {
		for _, from := range []string{"outside", "a", "b"} {
			for from != name {
				direct := Flow{From: from, To: fmt.Sprintf("%s:%d", addr, Port)}
				_, _, err := w.Connect(direct)
				_, _, err6 := w.Connect(direct.six())
				if err = errors.Join(err, err6); err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s cannot reach %s: %v", from, name, err)
				}
			}
		}
	}
}

// bridge makes a bridge in a place and a leg to each of the others, which get addresses.
func (w *World) bridge(t testing.TB, at, name, addr string, legs map[string]string) {
	t.Helper()
	links(t, w.places[at], func(l *netlink.Handle) error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
		if err := l.LinkAdd(br); err != nil {
			return err
		}
		if addr != "" {
			if err := address(l, name, addr); err != nil {
				return err
			}
		}
		for to := range legs {
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "to-" + to, MasterIndex: br.Index},
				PeerName: "eth0", PeerNamespace: netlink.NsFd(w.places[to].NetNS().Fd())}
			if err := l.LinkAdd(veth); err != nil {
				return err
			}
			// A Pod must reach itself through the bridge port it came from.
			if err := l.LinkSetHairpin(veth, true); err != nil {
				return err
			}
			if err := up(l, "to-"+to); err != nil {
				return err
			}
		}
		return up(l, name)
	})
	for to, addr := range legs {
		links(t, w.places[to], func(l *netlink.Handle) error {
			if err := address(l, "eth0", addr); err != nil {
				return err
			}
			return up(l, "eth0")
		})
	}
}

// route adds routes given as destination and gateway in turn.
func (w *World) route(t testing.TB, from string, routes []string) {
	t.Helper()
	links(t, w.places[from], func(l *netlink.Handle) error {
		for i := 0; i < len(routes); i += 2 {
			dst, gw := netip.MustParsePrefix(routes[i]), netip.MustParseAddr(routes[i+1])
			for _, r := range []*netlink.Route{routeTo(dst, gw), routeTo(SixPrefix(dst), Six(gw))} {
				if err := l.RouteAdd(r); err != nil {
					return fmt.Errorf("route to %s: %w", r.Dst, err)
				}
			}
		}
		return nil
	})
}

func routeTo(dst netip.Prefix, gw netip.Addr) *netlink.Route {
	return &netlink.Route{Dst: ipNet(dst), Gw: gw.AsSlice()}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (w *World) sysctl(t testing.TB, at, name, value string) {
	t.Helper()
	err := w.places[at].Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
	if err != nil {
		t.Fatal(err)
	}
}

// answer makes a Pod tell every caller its name and the caller's address.
func (w *World) answer(t testing.TB, name string) {
	t.Helper()
	ctx, h := context.Background(), w.places[name]
	ln, err := h.Listen(ctx, "tcp", fmt.Sprintf(":%d", Port))
	if err != nil {
		t.Fatal(err)
	}
	pc, err := h.ListenPacket(ctx, "udp", fmt.Sprintf(":%d", Port), false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	t.Cleanup(func() { ln.Close(); pc.Close(); <-done; <-done })
	reply := func(from net.Addr) []byte {
		addr, _ := netip.ParseAddrPort(from.String())
		return []byte(name + " " + addr.Addr().Unmap().String())
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				break
			}
			_, _ = conn.Write(reply(conn.RemoteAddr()))
			conn.Close()
		}
		done <- struct{}{}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				break
			}
			_, _ = pc.WriteTo(reply(from), from)
		}
		done <- struct{}{}
	}()
}

func links(t testing.TB, h *host.Host, f func(*netlink.Handle) error) {
	t.Helper()
	l, err := h.Links()
	if err == nil {
		err = f(l)
	}
	if err != nil {
		t.Fatalf("links of %s: %v", h.Name(), err)
	}
}

func up(l *netlink.Handle, name string) error {
	link, err := l.LinkByName(name)
	if err != nil {
		return err
	}
	return l.LinkSetUp(link)
}

func address(l *netlink.Handle, name, addr string) error {
	link, err := l.LinkByName(name)
	if err != nil {
		return err
	}
	for _, p := range []netip.Prefix{netip.MustParsePrefix(addr), SixPrefix(netip.MustParsePrefix(addr))} {
		if err := l.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil {
			return err
		}
	}
	return nil
}

// Place is one of the world's network namespaces.
func (w *World) Place(name string) *host.Host { return w.places[name] }
