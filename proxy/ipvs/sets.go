package ipvs

import (
	"fmt"
	"net/netip"
	"strings"

	"orrery.example.org/proxy/plan"
)

// The ipsets, by upstream's names.
const (
	setLoopBack         = "KUBE-LOOP-BACK"
	setClusterIP        = "KUBE-CLUSTER-IP"
	setExternalIP       = "KUBE-EXTERNAL-IP"
	setExternalIPLocal  = "KUBE-EXTERNAL-IP-LOCAL"
	setBalancer         = "KUBE-LOAD-BALANCER"
	setBalancerFirewall = "KUBE-LOAD-BALANCER-FW"
	setBalancerLocal    = "KUBE-LOAD-BALANCER-LOCAL"
	setBalancerSource   = "KUBE-LOAD-BALANCER-SOURCE-IP"
	setBalancerCIDR     = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
	setNodePort         = "KUBE-NODE-PORT-"       // TCP, UDP, SCTP-HASH
	setNodePortLocal    = "KUBE-NODE-PORT-LOCAL-" // likewise
	setHealthCheck      = "KUBE-HEALTH-CHECK-NODE-PORT"
	setAddresses        = "KUBE-IPVS-IPS"
)

// The types of sets. What their names list is what an Entry of them has.
const (
	typeAddr         = "hash:ip"
	typeAddrPort     = "hash:ip,port"
	typeAddrPortAddr = "hash:ip,port,ip"
	typeAddrPortNet  = "hash:ip,port,net"
	typePort         = "bitmap:port"
)

// Set is an ipset: what it is called, what is in it, and what for.
type Set struct {
	Name, Type, Comment string
}

// Sets are all that there are.
var Sets = []Set{
	{setLoopBack, typeAddrPortAddr, "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"},
	{setClusterIP, typeAddrPort, "Kubernetes service cluster ip + port for masquerade purpose"},
	{setExternalIP, typeAddrPort, "Kubernetes service external ip + port for masquerade and filter purpose"},
	{setExternalIPLocal, typeAddrPort, "Kubernetes service external ip + port with externalTrafficPolicy=local"},
	{setBalancer, typeAddrPort, "Kubernetes service lb portal"},
	{setBalancerFirewall, typeAddrPort, "Kubernetes service load balancer ip + port for load balancer with sourceRange"},
	{setBalancerLocal, typeAddrPort, "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"},
	{setBalancerSource, typeAddrPortAddr, "Kubernetes service load balancer ip + port + source IP for packet filter purpose"},
	{setBalancerCIDR, typeAddrPortNet, "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"},
	{setNodePort + "TCP", typePort, "Kubernetes nodeport TCP port for masquerade purpose"},
	{setNodePortLocal + "TCP", typePort, "Kubernetes nodeport TCP port with externalTrafficPolicy=local"},
	{setNodePort + "UDP", typePort, "Kubernetes nodeport UDP port for masquerade purpose"},
	{setNodePortLocal + "UDP", typePort, "Kubernetes nodeport UDP port with externalTrafficPolicy=local"},
	{setNodePort + "SCTP-HASH", typeAddrPort, "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"},
	{setNodePortLocal + "SCTP-HASH", typeAddrPort, "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"},
	{setHealthCheck, typePort, "Kubernetes health check node port"},
	{setAddresses, typeAddr, "Addresses on the ipvs interface"},
}

var setsByName = func() map[string]Set {
	all := map[string]Set{}
	for _, s := range Sets {
		all[s.Name] = s
	}
	return all
}()

// maxSetName is how long the kernel lets the name of a set be.
const maxSetName = 31

// KernelName is the name of a set in the kernel: both families share one namespace.
func KernelName(set string, family plan.Family) string {
	if family != plan.IPv6 {
		return set
	}
	name := strings.Replace(set, "KUBE-", "KUBE-6-", 1)
	return name[:min(len(name), maxSetName)]
}

// Entry is a member of a set. Fields that its type does not have are zero.
type Entry struct {
	Set      string
	Addr     netip.Addr
	Protocol string // tcp, udp, sctp
	Port     uint16
	From     netip.Prefix // the source
}

// String is the entry as the program ipset spells it.
func (e Entry) String() string {
	switch setsByName[e.Set].Type {
	case typeAddr:
		return e.Addr.String()
	case typePort:
		return fmt.Sprint(e.Port)
	case typeAddrPort:
		return fmt.Sprintf("%s,%s:%d", e.Addr, e.Protocol, e.Port)
	case typeAddrPortAddr:
		return fmt.Sprintf("%s,%s:%d,%s", e.Addr, e.Protocol, e.Port, e.From.Addr())
	}
	return fmt.Sprintf("%s,%s:%d,%s", e.Addr, e.Protocol, e.Port, e.From)
}

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
