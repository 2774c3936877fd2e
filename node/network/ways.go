package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// RepairInterval is how often the ways should be set again. They vanish with the
// interface they lead through, when a cable is pulled.
const RepairInterval = 5 * time.Second

// Peer is a range of another node's Pods, and where they are.
type Peer struct {
	PodCIDR netip.Prefix
	Addr    netip.Addr // of the node, in the same family
	Tunnel  netip.Addr // the first of the node's addresses: where its VXLAN packets go
}

// Peers are those of all nodes but the one of that name, which has its Pods on its bridge.
func Peers(nodes []*corev1.Node, self string) []Peer {
	var peers []Peer
	for _, node := range nodes {
		addrs := internalIPs(node)
		if node.Name == self || len(addrs) == 0 {
			continue
		}
		for _, cidr := range PodCIDRs(node) { // none yet, of a new node
			same := func(a netip.Addr) bool { return a.Is4() == cidr.Addr().Is4() }
			if i := slices.IndexFunc(addrs, same); i >= 0 {
				peers = append(peers, Peer{cidr, addrs[i], addrs[0]})
			}
		}
	}
	return peers
}

func internalIPs(node *corev1.Node) (addrs []netip.Addr) {
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// PodCIDRs are a node's shares of the Pod network: none yet, one, or one of each family.
func PodCIDRs(node *corev1.Node) (cidrs []netip.Prefix) {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 {
		texts = []string{node.Spec.PodCIDR}
	}
	for _, text := range texts {
		if cidr, err := netip.ParsePrefix(text); err == nil { // the API server lets nothing else in
			cidrs = append(cidrs, cidr.Masked())
		}
	}
	return cidrs
}

// Ways are those of one machine to the Pods of nodes: a route each and, with VXLAN, what
// makes its next hop known. Safe for concurrent use.
type Ways struct {
	links *netlink.Handle
	vxlan netlink.Link // nil: routes by way of the nodes themselves
	mu    sync.Mutex
}

// protocol marks the routes that are ours, as each routing program has a number.
const protocol = netlink.RouteProtocol(79)

// Direct are ways over a network that takes Pods' packets as they are. The handle stays
// the caller's.
func Direct(links *netlink.Handle) *Ways { return &Ways{links: links} }

// Set makes the ways exactly those to the peers. It compares with what the kernel has:
// a way may have vanished with its interface, or be left by an agent that crashed.
func (w *Ways) Set(peers []Peer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	have, err := w.links.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	for _, peer := range peers {
		want := w.route(peer)
		same := func(r netlink.Route) bool {
			return r.Dst.String() == want.Dst.String() && r.Gw.Equal(want.Gw) && (w.vxlan == nil || r.LinkIndex == want.LinkIndex)
		}
		if i := slices.IndexFunc(have, same); i >= 0 {
			have = slices.Delete(have, i, i+1)
			continue
		}
		if err := w.add(peer, want); err != nil {
			errs = append(errs, fmt.Errorf("add route to %s via %s: %w", peer.PodCIDR, peer.Addr, err))
		}
		// What it replaced is not to be deleted below.
		have = slices.DeleteFunc(have, func(r netlink.Route) bool { return r.Dst.String() == want.Dst.String() })
	}
	for _, r := range have {
		if err := w.remove(&r); err != nil {
			errs = append(errs, fmt.Errorf("delete route to %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func (w *Ways) route(peer Peer) *netlink.Route {
	r := &netlink.Route{Dst: ipNet(peer.PodCIDR), Gw: peer.Addr.AsSlice(), Protocol: protocol}
	if w.vxlan != nil { // see VXLAN
		r.Gw, r.LinkIndex, r.Flags = tunnelAddr(peer.PodCIDR).AsSlice(), w.vxlan.Attrs().Index, int(netlink.FLAG_ONLINK)
	}
	return r
}

func (w *Ways) add(peer Peer, route *netlink.Route) error {
	if w.vxlan != nil {
		if err := w.introduce(peer); err != nil {
			return err
		}
	}
	return w.links.RouteReplace(route)
}

func (w *Ways) remove(route *netlink.Route) error {
	if err := w.links.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if w.vxlan != nil {
		return w.forget(route.Gw)
	}
	return nil
}

// Close removes them all.
func (w *Ways) Close() error {
	err := w.Set(nil)
	if w.vxlan != nil {
		err = errors.Join(err, ignoreMissing(w.links.LinkDel(w.vxlan)))
	}
	return err
}
