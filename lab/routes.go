package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
)

// Nodes set up the routes to each other's Pods themselves. The control plane has no agent,
// and the API server sends to Pods as well (kubectl proxy, get --raw …/proxy/), so the lab
// looks after that host's routes.

// podRoutes are the routes that the control plane has, by podCIDR.
type podRoutes struct {
	links *netlink.Handle
	have  map[netip.Prefix]netip.Addr
}

// routeToPods follows the Nodes until ctx ends.
func (c *cluster) routeToPods(ctx context.Context) error {
	links, err := c.fabric.hosts[controlPlane].Links()
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(c.admin, 0)
	nodes := factory.Core().V1().Nodes()
	changed, _, err := changes(nodes.Informer())
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	routes := &podRoutes{links: links, have: map[netip.Prefix]netip.Addr{}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		all, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		if err := routes.sync(wantedRoutes(all)); err != nil {
			c.logger("routes").Warn("keep the control plane's routes to Pods", "error", err)
		}
	}
}

// wantedRoutes lead from each podCIDR to its node.
func wantedRoutes(nodes []*corev1.Node) map[netip.Prefix]netip.Addr {
	wanted := map[netip.Prefix]netip.Addr{}
	for _, n := range nodes {
		cidr, err := netip.ParsePrefix(n.Spec.PodCIDR)
		if err != nil {
			continue // none yet
		}
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP && ip.Is4() == cidr.Addr().Is4() {
				wanted[cidr.Masked()] = ip
				break
			}
		}
	}
	return wanted
}

func (r *podRoutes) sync(wanted map[netip.Prefix]netip.Addr) error {
	var errs []error
	for to := range r.have {
		if _, keep := wanted[to]; keep {
			continue
		}
		if err := r.links.RouteDel(&netlink.Route{Dst: destination(to)}); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("delete route to %s: %w", to, err))
			continue
		}
		delete(r.have, to)
	}
	for to, via := range wanted {
		if r.have[to] == via {
			continue
		}
		if err := r.links.RouteReplace(&netlink.Route{Dst: destination(to), Gw: via.AsSlice()}); err != nil {
			errs = append(errs, fmt.Errorf("add route to %s via %s: %w", to, via, err))
			continue
		}
		r.have[to] = via
	}
	return errors.Join(errs...)
}

func destination(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
