// Package nftables keeps the plan of a node's Services in the kernel by nftables.
//
// The rules are a text that fits on two screens (text.go) and does not grow with the
// cluster. All that concerns a single Service is elements of maps that those rules look
// into, keyed by address, protocol and port (service.go), so that a connection costs a
// few lookups however many Services there are. The text goes through the program nft;
// elements go to the kernel by netlink, in microseconds (kernel.go). In between,
// model.go knows who owns which address, and batch.go orders the difference between two
// states so that each prefix of it is a working data plane. applier.go joins the parts.
//
// Upstream counterpart: pkg/proxy/nftables of kubernetes/kubernetes. Table, sets, maps
// and chains carry its names where they have its meaning.
//
// Kubernetes: upstream has a chain per Service and one per endpoint, which makes loading
// quadratic in the number of Services; see docs/decisions/0005-shared-maps.md. It waits
// for a full sync to notice what it does not watch; here the generation number of the
// kernel's rules tells whether anybody has touched them.
package nftables

import (
	"net/netip"

	"orrery.example.org/proxy/plan"
)

// TableName is the table that holds everything, one in each family.
const TableName = "kube-proxy"

// Settings are what the rules depend on besides Services.
type Settings struct {
	Family        plan.Family
	MasqueradeAll bool
	MasqueradeBit int
	Local         plan.Local
	// ServiceCIDR is where ClusterIPs come from; packets to others in it are dropped.
	ServiceCIDR netip.Prefix
}

// The sets and maps.
const (
	setClusterIPs   = "cluster-ips"
	setHairpin      = "hairpin-connections"
	setSourceRanges = "source-ranges"

	mapServiceIPs    = "service-ips"          // address -> what kind of address it is
	mapNoEndpoints   = "no-endpoint-services" // address -> refuse or drop
	mapFirewallIPs   = "firewall-ips"         // address -> ask source-ranges
	mapClusterPolicy = "cluster-policy"       // address -> how many endpoints there are
	mapLocalPolicy   = "local-policy"         // the same for endpoints of this node
	mapTimeouts      = "affinity-timeouts"    // address -> how long to remember clients
	mapAffinity      = "affinity"             // client and address -> endpoint; written by rules

	prefixEndpoints      = "endpoints-"       // + number: address and index -> endpoint
	prefixLocalEndpoints = "local-endpoints-" // the same for endpoints of this node
)

// The chains that elements lead to.
const (
	chainClusterIP      = "cluster-ip"
	chainClusterIPLocal = "cluster-ip-local"
	chainExternal       = "external"
	chainExternalLocal  = "external-local"
	chainReject         = "reject-chain"
	chainFirewall       = "firewall"

	prefixOneOf      = "one-of-"       // + number
	prefixOneOfLocal = "one-of-local-" // + number
	prefixRemember   = "remember-"     // + seconds + "s"
)

// verdictMaps are the maps whose values are verdicts.
var verdictMaps = map[string]bool{
	mapServiceIPs: true, mapNoEndpoints: true, mapFirewallIPs: true,
	mapClusterPolicy: true, mapLocalPolicy: true, mapTimeouts: true,
}

const verdictDrop = "drop"

func verdictGoto(chain string) string { return "goto " + chain }

func (s *Settings) ipv6() bool { return s.Family == plan.IPv6 }
