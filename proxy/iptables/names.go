package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"strings"

	"orrery.example.org/proxy/plan"
)

// The chains that all Services share.
const (
	chainServices         = "KUBE-SERVICES"          // ClusterIPs and the other addresses of Services
	chainExternalServices = "KUBE-EXTERNAL-SERVICES" // refusals for addresses reached from outside
	chainNodePorts        = "KUBE-NODEPORTS"         // nat: NodePorts; filter: health check ports
	chainPostrouting      = "KUBE-POSTROUTING"       // masquerades what is marked
	chainMarkMasq         = "KUBE-MARK-MASQ"         // marks what is to be masqueraded
	chainForward          = "KUBE-FORWARD"           // lets Service traffic through a closed FORWARD
	chainProxyFirewall    = "KUBE-PROXY-FIREWALL"    // drops what loadBalancerSourceRanges forbid
	chainFirewall         = "KUBE-FIREWALL"          // keeps others away from 127.0.0.0/8
	chainCanary           = "KUBE-PROXY-CANARY"      // empty; its loss shows that somebody flushed the table
)

// The beginnings of the names of a Service's own chains.
const (
	prefixCluster  = "KUBE-SVC-" // chooses among all endpoints
	prefixLocal    = "KUBE-SVL-" // chooses among this node's endpoints
	prefixExternal = "KUBE-EXT-" // traffic from outside: masquerade, policy, short cuts
	prefixFirewall = "KUBE-FW-"  // loadBalancerSourceRanges
	prefixEndpoint = "KUBE-SEP-" // one endpoint: hairpin mark, affinity, DNAT
)

var ownPrefixes = []string{prefixCluster, prefixLocal, prefixExternal, prefixFirewall, prefixEndpoint}

// isOwnChain tells whether a chain of the nat table belongs to a single Service.
func isOwnChain(name string) bool {
	for _, p := range ownPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// isSharedChain tells whether a chain is one of those that all Services share, in this
// mode or in the mode ipvs: with it the chains go by the same names and need another
// content, so that either mode finds what the other one has left as its own, to be mended.
func isSharedChain(name string) bool {
	switch name {
	case chainServices, chainExternalServices, chainNodePorts, chainPostrouting, chainMarkMasq,
		chainForward, chainProxyFirewall, chainFirewall, chainCanary,
		"KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER":
		return true
	}
	return false
}

// chainHash is the part of a chain's name that identifies a port of a Service, or one
// of its endpoints. Names of chains have at most 28 characters.
func chainHash(name plan.PortName, endpoint string) string {
	sum := sha256.Sum256([]byte(name.String() + protocolOf(name) + endpoint))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}

func endpointChain(name plan.PortName, endpoint netip.AddrPort) string {
	return prefixEndpoint + chainHash(name, endpoint.String())
}

// protocolOf is the protocol as iptables spells it.
func protocolOf(name plan.PortName) string { return strings.ToLower(string(name.Protocol)) }
