package proxy

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// cleanConntrack makes the kernel forget UDP flows to endpoints that serve no more.
// NAT is decided by a flow's first packet, and a UDP flow ends only by silence, so that
// a busy client would talk to a dead Pod for ever (P36).
func (p *Proxy) cleanConntrack(f *family, changes []plan.Change, full bool) {
	var flows udpFlows
	if full { // the changes of failed syncs are among them
		for _, svc := range f.plans {
			flows.add(svc)
		}
	}
	for _, c := range changes {
		if c.New != nil && !full {
			flows.add(c.New)
		}
	}
	if len(flows.serving) == 0 && len(flows.nodePorts) == 0 {
		return
	}
	n, err := forget(p.cfg.Host, f.name, &flows)
	if err != nil {
		f.log.Error("cannot remove stale UDP flows", "err", err)
		return
	}
	if n > 0 {
		p.metrics.conntrackDeleted.WithLabelValues(string(f.name)).Add(float64(n))
		f.log.Debug("removed stale UDP flows", "flows", n)
	}
}

// udpFlows knows which endpoints may go on serving the UDP ports of some Services.
type udpFlows struct {
	serving   map[netip.AddrPort]map[netip.AddrPort]bool // a Service's address -> endpoints
	nodePorts map[uint16]map[netip.AddrPort]bool
}

// add takes the UDP ports of a Service that have endpoints. For a port without any there
// is nothing better that a flow could go to.
func (u *udpFlows) add(svc *plan.Service) {
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Name.Protocol != corev1.ProtocolUDP {
			continue
		}
		serving := map[netip.AddrPort]bool{}
		for _, ep := range p.Serving() {
			serving[ep] = true
		}
		if len(serving) == 0 {
			continue
		}
		if u.serving == nil {
			u.serving = map[netip.AddrPort]map[netip.AddrPort]bool{}
			u.nodePorts = map[uint16]map[netip.AddrPort]bool{}
		}
		u.serving[netip.AddrPortFrom(p.ClusterIP, p.Port)] = serving
		for _, addrs := range [][]netip.Addr{p.ExternalIPs, p.LoadBalancerIPs} {
			for _, addr := range addrs {
				u.serving[netip.AddrPortFrom(addr, p.Port)] = serving
			}
		}
		if p.NodePort != 0 {
			u.nodePorts[p.NodePort] = serving
		}
	}
}

// stale tells whether a flow to a Service is answered by what does not serve it: an
// endpoint that is gone, or nobody, because the flow is older than the rules.
func (u *udpFlows) stale(to, answers netip.AddrPort) bool {
	serving, known := u.serving[to]
	if !known {
		serving, known = u.nodePorts[to.Port()]
	}
	return known && !serving[answers]
}

// MatchConntrackFlow makes udpFlows a filter for deletion.
func (u *udpFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	answers, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	return ok && ok2 && u.stale(netip.AddrPortFrom(to.Unmap(), flow.Forward.DstPort),
		netip.AddrPortFrom(answers.Unmap(), flow.Reverse.SrcPort))
}

// forget deletes the flows that a filter matches from a place's conntrack table.
func forget(h *host.Host, family plan.Family, filter netlink.CustomConntrackFilter) (uint, error) {
	handle, err := h.Netlink(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("open conntrack: %w", err)
	}
	defer handle.Close()
	inet := netlink.InetFamily(unix.AF_INET)
	if family == plan.IPv6 {
		inet = unix.AF_INET6
	}
	n, err := handle.ConntrackDeleteFilters(netlink.ConntrackTable, inet, filter)
	if err != nil {
		return n, fmt.Errorf("delete conntrack entries: %w", err)
	}
	return n, nil
}
