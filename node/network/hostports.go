package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// The chains of host ports, in the nat table; upstream's names.
const (
	hostPortChain     = "CNI-HOSTPORT-DNAT"
	hostPortMarkChain = "CNI-HOSTPORT-SETMARK"
	hostPortMasqChain = "CNI-HOSTPORT-MASQ"
	hostPortMark      = "0x2000/0x2000"
)

// hostPortJumps lead to the chains: what is meant for the node itself, from outside and
// from here, and what was marked.
var hostPortJumps = []string{
	"PREROUTING -m addrtype --dst-type LOCAL -j " + hostPortChain,
	"OUTPUT -m addrtype --dst-type LOCAL -j " + hostPortChain,
	"POSTROUTING -m comment --comment host-ports-requiring-masquerade -j " + hostPortMasqChain,
}

// HostPort is a port of the node that leads to a Pod.
type HostPort struct {
	Pod      string     // for people who read the rules
	Protocol string     // tcp, udp or sctp
	IP       netip.Addr // of the node; zero: all
	Port     int32
	To       netip.AddrPort
}

// SetHostPorts makes these ports of the node lead to a Pod, given by its uid, and no others.
//
// Upstream counterpart: the CNI plugin portmap, which has a chain for each Pod.
func (n *Network) SetHostPorts(ctx context.Context, uid string, ports []HostPort) error {
	n.portsMu.Lock()
	defer n.portsMu.Unlock()
	before := n.hostPorts[uid]
	if len(before) == 0 && len(ports) == 0 {
		return nil
	}
	if n.hostPorts == nil {
		for _, pool := range n.Pools {
			if err := n.beginHostPorts(ctx, familyOf(pool.Gateway())); err != nil {
				return fmt.Errorf("prepare host ports: %w", err)
			}
		}
		n.hostPorts = map[string][]HostPort{}
	}
	n.hostPorts[uid] = ports
	if len(ports) == 0 {
		delete(n.hostPorts, uid)
	}
	for _, pool := range n.Pools {
		family := familyOf(pool.Gateway())
		if err := restore(ctx, n.host, family, hostPortRules(n.hostPorts, family)); err != nil {
			return fmt.Errorf("set host ports: %w", err)
		}
	}
	return n.forgetFlows(slices.Concat(before, ports))
}

// beginHostPorts makes the chains, and lets the node reach its own ports on 127.0.0.1.
// (IPv6 routes nothing from ::1.)
func (n *Network) beginHostPorts(ctx context.Context, family family) error {
	rules := []string{
		"*nat", ":" + hostPortChain + " - [0:0]", ":" + hostPortMarkChain + " - [0:0]", ":" + hostPortMasqChain + " - [0:0]",
		fmt.Sprintf("-A %s -j MARK --set-xmark %s", hostPortMarkChain, hostPortMark),
		fmt.Sprintf("-A %s -m mark --mark %s -j MASQUERADE", hostPortMasqChain, hostPortMark),
	}
	for _, jump := range hostPortJumps {
		rules = append(rules, "-A "+jump)
	}
	if err := restore(ctx, n.host, family, rules); err != nil || family.number == unix.AF_INET6 {
		return err
	}
	err := n.host.SetSysctl("net/ipv4/conf/"+BridgeName+"/route_localnet", "1")
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		return nil // as in a container; all other ways to the port work
	}
	return err
}

// hostPortRules is the contents of the chain for one family. A Pod that reaches itself, and the node's
// loopback, are masqueraded: the answer must come back this way.
func hostPortRules(all map[string][]HostPort, family family) []string {
	var rules []string
	for _, ports := range all {
		for _, p := range ports {
			if familyOf(p.To.Addr()).number != family.number {
				continue
			}
			match := fmt.Sprintf("-p %s --dport %d", p.Protocol, p.Port)
			if p.IP.IsValid() && !p.IP.IsUnspecified() {
				match = fmt.Sprintf("-d %s %s", p.IP, match)
			}
			rules = append(rules,
				fmt.Sprintf("-A %s -s %s %s -j %s", hostPortChain, p.To.Addr(), match, hostPortMarkChain),
				fmt.Sprintf("-A %s -s %s %s -j %s", hostPortChain, family.loopback, match, hostPortMarkChain),
				fmt.Sprintf("-A %s %s -m comment --comment %s -j DNAT --to-destination %s", hostPortChain, match, p.Pod, p.To))
		}
	}
	// In some order that stays, and those that mark before that which ends the chain.
	slices.SortStableFunc(rules, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, " DNAT "), strings.Count(b, " DNAT ")), cmp.Compare(a, b))
	})
	return append([]string{"*nat", ":" + hostPortChain + " - [0:0]"}, rules...)
}

// forgetFlows ends what the kernel remembers of datagrams to these ports: a flow that is
// under way would go on to where it went before.
func (n *Network) forgetFlows(ports []HostPort) error {
	var flows *netlink.Handle
	for _, p := range ports {
		if p.Protocol != "udp" {
			continue
		}
		if flows == nil {
			var err error
			if flows, err = n.host.Netlink(unix.NETLINK_NETFILTER); err != nil {
				return err
			}
			defer flows.Close()
		}
		filter := &netlink.ConntrackFilter{}
		err := errors.Join(filter.AddProtocol(unix.IPPROTO_UDP), filter.AddPort(netlink.ConntrackOrigDstPort, uint16(p.Port)))
		if err != nil {
			return err
		}
		if _, err := flows.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(familyOf(p.To.Addr()).number), filter); err != nil {
			return fmt.Errorf("forget flows to port %d: %w", p.Port, err)
		}
	}
	return nil
}

// ClearHostPorts removes what SetHostPorts made for Pods with addresses like this one,
// maybe before a crash.
func ClearHostPorts(ctx context.Context, h *host.Host, like netip.Addr) error {
	family := familyOf(like)
	saved, err := h.Command(ctx, family.iptables+"-save", "-t", "nat").Output()
	if err != nil || !strings.Contains(string(saved), ":"+hostPortChain+" ") {
		return err
	}
	rules := []string{"*nat"}
	for line := range strings.Lines(string(saved)) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "); ok && !strings.HasPrefix(rule, "CNI-") && strings.Contains(rule, "CNI-HOSTPORT-") {
			rules = append(rules, "-D "+rule)
		}
	}
	for _, action := range []string{"-F ", "-X "} {
		for _, chain := range []string{hostPortChain, hostPortMarkChain, hostPortMasqChain} {
			rules = append(rules, action+chain)
		}
	}
	if err := restore(ctx, h, family, rules); err != nil {
		return fmt.Errorf("remove host ports: %w", err)
	}
	return nil
}
