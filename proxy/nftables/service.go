package nftables

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/proxy/plan"
)

// Slot is a place in a set or map that can hold one element. Keys are spelled as the
// kernel stores them: each part padded to four bytes.
type Slot struct {
	Set    string
	Key    string
	KeyEnd string // the end of an interval
}

// Elements are slots with what they hold: nothing in a set, "goto chain" or "drop" in a
// map of verdicts, an address and port otherwise.
type Elements map[Slot]string

// role is what an address is to its Service. Where two Services claim one address and
// port, the lower role wins: a NodePort never shadows an address.
type role uint8

const (
	roleClusterIP role = iota
	roleExternalIP
	roleLoadBalancer
	roleNodePort
)

// claim is a port of a Service that wants to answer on an address.
type claim struct {
	role role
	port *plan.Port
}

func (c claim) compare(other claim) int {
	return cmp.Or(cmp.Compare(c.role, other.role), cmp.Compare(c.port.Name.String(), other.port.Name.String()),
		cmp.Compare(c.port.Name.Protocol, other.port.Name.Protocol))
}

// claims are the addresses of a port by their keys in the kernel.
func claims(p *plan.Port, nodeIPs []netip.Addr) map[string]claim {
	all := map[string]claim{}
	take := func(r role, port uint16, addrs ...netip.Addr) {
		for _, addr := range addrs {
			key := destination(addr, p.Name.Protocol, port)
			if old, taken := all[key]; !taken || r < old.role {
				all[key] = claim{r, p}
			}
		}
	}
	take(roleClusterIP, p.Port, p.ClusterIP)
	take(roleExternalIP, p.Port, p.ExternalIPs...)
	take(roleLoadBalancer, p.Port, p.LoadBalancerIPs...)
	if p.NodePort != 0 {
		take(roleNodePort, p.NodePort, nodeIPs...)
	}
	return all
}

// elements are what an address needs that a port has got hold of. All their keys begin
// with the key of the address, so that no two addresses share an element.
func (c claim) elements(key string) Elements {
	e := Elements{}
	if c.role == roleLoadBalancer && len(c.port.SourceRanges) > 0 {
		c.firewall(key, e)
	}
	toCluster, toLocal, chain := c.policies()
	if toCluster {
		balance(e, key, mapClusterPolicy, prefixOneOf, c.port.ClusterEndpoints())
	}
	if toLocal {
		balance(e, key, mapLocalPolicy, prefixOneOfLocal, c.port.LocalEndpoints())
	}
	_, cluster := e[Slot{Set: mapClusterPolicy, Key: key}]
	_, local := e[Slot{Set: mapLocalPolicy, Key: key}]
	if !c.port.HasEndpoints {
		e[Slot{Set: mapNoEndpoints, Key: key}] = verdictGoto(chainReject)
		return e
	}
	if toLocal && !local || !toLocal && !cluster {
		e[Slot{Set: mapNoEndpoints, Key: key}] = verdictDrop // P14
	}
	if !cluster && !local {
		return e
	}
	e[Slot{Set: mapServiceIPs, Key: key}] = verdictGoto(chain)
	if c.port.AffinitySeconds > 0 {
		e[Slot{Set: mapTimeouts, Key: key}] = verdictGoto(prefixRemember + strconv.Itoa(c.port.AffinitySeconds) + "s")
	}
	return e
}

// policies tells which endpoints traffic to the address may go to, and which chain
// decides. With externalTrafficPolicy Local it depends on the client (P18).
func (c claim) policies() (cluster, local bool, chain string) {
	switch {
	case c.role == roleClusterIP && c.port.InternalLocal:
		return false, true, chainClusterIPLocal
	case c.role == roleClusterIP:
		return true, false, chainClusterIP
	case c.port.ExternalLocal:
		return true, true, chainExternalLocal
	}
	return true, false, chainExternal
}

// balance spreads an address over endpoints: its number of endpoints names the map, and
// each index in it is one endpoint (P8).
func balance(e Elements, key, policy, prefix string, endpoints []netip.AddrPort) {
	if len(endpoints) == 0 {
		return
	}
	chain := prefix + strconv.Itoa(len(endpoints))
	e[Slot{Set: policy, Key: key}] = verdictGoto(chain)
	set := mapOf(chain)
	for i, ep := range endpoints {
		// numgen leaves its number in the machine's byte order.
		index := binary.NativeEndian.AppendUint32([]byte(key), uint32(i))
		e[Slot{Set: set, Key: string(index)}] = string(appendPort(ep.Addr().AsSlice(), ep.Port()))
	}
}

// firewall admits the source ranges to a load balancer's address (P15).
func (c claim) firewall(key string, e Elements) {
	e[Slot{Set: mapFirewallIPs, Key: key}] = verdictGoto(chainFirewall)
	ranges := slices.Clone(c.port.SourceRanges)
	if c.port.NodeInSourceRanges {
		for _, addr := range c.port.LoadBalancerIPs {
			ranges = append(ranges, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	for i, r := range ranges {
		within := func(other netip.Prefix) bool { return other.Bits() < r.Bits() && other.Contains(r.Addr()) }
		if slices.ContainsFunc(ranges, within) || slices.Contains(ranges[:i], r) {
			continue // the kernel refuses ranges that overlap
		}
		e[Slot{Set: setSourceRanges, Key: key + string(r.Addr().AsSlice()), KeyEnd: key + string(lastOf(r))}] = ""
	}
}

// members are the elements that several ports may ask for: the ClusterIP, and the
// connections of this node's endpoints to themselves (P22).
func members(p *plan.Port) []Slot {
	all := []Slot{{Set: setClusterIPs, Key: string(p.ClusterIP.AsSlice())}}
	for i := range p.Endpoints {
		if ep := &p.Endpoints[i]; ep.OnNode && (ep.Cluster.Used() || ep.Local.Used()) {
			addr := ep.Addr.Addr()
			all = append(all, Slot{Set: setHairpin, Key: string(addr.AsSlice()) + destination(addr, p.Name.Protocol, ep.Addr.Port())})
		}
	}
	return all
}

// destination is the key of an address, a protocol and a port.
func destination(addr netip.Addr, protocol corev1.Protocol, port uint16) string {
	number := byte(unix.IPPROTO_TCP)
	switch protocol {
	case corev1.ProtocolUDP:
		number = unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		number = unix.IPPROTO_SCTP
	}
	return string(appendPort(append(addr.AsSlice(), number, 0, 0, 0), port))
}

func appendPort(b []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(b, port), 0, 0)
}

// lastOf is the last address of a range.
func lastOf(r netip.Prefix) []byte {
	b := r.Addr().AsSlice()
	for bit := r.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return b
}
