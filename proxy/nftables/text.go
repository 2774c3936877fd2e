package nftables

import (
	"fmt"
	"strings"
)

// text is the part of the rules that does not depend on any Service, as input of nft.
// It may be run again: chains are emptied before they are filled, all in one
// transaction.
const text = `
add table $IP kube-proxy { comment "rules for kube-proxy"; }

add set $IP kube-proxy cluster-ips { type $ADDR; comment "Active ClusterIPs"; }
add map $IP kube-proxy service-ips { type $ADDR . inet_proto . inet_service : verdict; comment "ClusterIP, ExternalIP, LoadBalancer IP and NodePort traffic"; }
add map $IP kube-proxy no-endpoint-services { type $ADDR . inet_proto . inet_service : verdict; comment "vmap to drop or reject packets to services with no endpoints"; }
add map $IP kube-proxy firewall-ips { type $ADDR . inet_proto . inet_service : verdict; comment "destinations that are subject to LoadBalancerSourceRanges"; }
add set $IP kube-proxy source-ranges { type $ADDR . inet_proto . inet_service . $ADDR; flags interval; comment "who may use the destinations of firewall-ips"; }
add map $IP kube-proxy cluster-policy { type $ADDR . inet_proto . inet_service : verdict; comment "how many endpoints a destination has"; }
add map $IP kube-proxy local-policy { type $ADDR . inet_proto . inet_service : verdict; comment "how many endpoints a destination has on this node"; }
add map $IP kube-proxy affinity-timeouts { type $ADDR . inet_proto . inet_service : verdict; comment "destinations with session affinity"; }
add map $IP kube-proxy affinity { type $ADDR . $ADDR . inet_proto . inet_service : $ADDR . inet_service; size 262144; flags dynamic,timeout; comment "client and destination to endpoint"; }
add set $IP kube-proxy hairpin-connections { type $ADDR . $ADDR . inet_proto . inet_service; comment "connections of local endpoints to themselves"; }

chain filter-prerouting-pre-dnat { type filter hook prerouting priority dstnat - 10; }
chain filter-output-pre-dnat { type filter hook output priority -110; }
chain nat-prerouting { type nat hook prerouting priority dstnat; }
chain nat-output { type nat hook output priority -100; }
chain filter-prerouting-post-dnat { type filter hook prerouting priority dstnat + 10; }
chain filter-output-post-dnat { type filter hook output priority -90; }
chain filter-input { type filter hook input priority filter; }
chain filter-forward { type filter hook forward priority filter; }
chain filter-output { type filter hook output priority filter; }
chain nat-postrouting { type nat hook postrouting priority srcnat; }
chain firewall-check
chain firewall
chain services
chain cluster-ip
chain cluster-ip-local
chain external
chain external-local
chain any-endpoint
chain local-endpoint
chain affinity-update
chain service-endpoints-check
chain cluster-ips-check
chain reject-chain
chain mark-for-masquerade
chain masquerading

# Before NAT: who may use the addresses of load balancers.
rule filter-prerouting-pre-dnat ct state new jump firewall-check
rule filter-output-pre-dnat ct state new jump firewall-check
rule firewall-check $IP daddr . meta l4proto . th dport vmap @firewall-ips
rule firewall $IP daddr . meta l4proto . th dport . $IP saddr @source-ranges return
rule firewall drop comment "not within loadBalancerSourceRanges"

# NAT: what kind of address is it, and which endpoint gets the connection?
rule nat-prerouting jump services
rule nat-output jump services
rule services $IP daddr . meta l4proto . th dport vmap @service-ips
rule cluster-ip $OFFCLUSTER
rule cluster-ip goto any-endpoint
rule cluster-ip-local $OFFCLUSTER
rule cluster-ip-local goto local-endpoint
rule external jump mark-for-masquerade
rule external goto any-endpoint
rule external-local $POD goto any-endpoint comment "short-circuit pod traffic"
rule external-local fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"
rule external-local fib saddr type local goto any-endpoint comment "short-circuit local traffic"
rule external-local goto local-endpoint
rule any-endpoint dnat $IP to $IP saddr . $IP daddr . meta l4proto . th dport map @affinity
rule any-endpoint $IP daddr . meta l4proto . th dport vmap @cluster-policy
rule local-endpoint dnat $IP to $IP saddr . $IP daddr . meta l4proto . th dport map @affinity
rule local-endpoint $IP daddr . meta l4proto . th dport vmap @local-policy

# After NAT: remember which endpoint a client got.
rule filter-prerouting-post-dnat ct state new ct status dnat jump affinity-update
rule filter-output-post-dnat ct state new ct status dnat jump affinity-update
rule affinity-update meta l4proto tcp ct original $IP daddr . meta l4proto . ct original proto-dst vmap @affinity-timeouts
rule affinity-update meta l4proto udp ct original $IP daddr . meta l4proto . ct original proto-dst vmap @affinity-timeouts
rule affinity-update meta l4proto sctp ct original $IP daddr . meta l4proto . ct original proto-dst vmap @affinity-timeouts

# Still addressed to a Service: there is nobody to send it to.
rule filter-input ct state new jump service-endpoints-check
rule filter-forward ct state new jump service-endpoints-check
rule filter-forward ct state new jump cluster-ips-check
rule filter-output ct state new jump service-endpoints-check
rule filter-output ct state new jump cluster-ips-check
rule service-endpoints-check $IP daddr . meta l4proto . th dport vmap @no-endpoint-services
rule cluster-ips-check $IP daddr @cluster-ips goto reject-chain comment "Reject traffic to invalid ports of ClusterIPs"
rule cluster-ips-check $IP daddr $SERVICECIDR drop comment "Drop traffic to unallocated ClusterIPs"
rule reject-chain reject

# The way out: answers must come back here.
rule mark-for-masquerade meta mark set meta mark or $MARK
rule nat-postrouting jump masquerading
rule masquerading ct status dnat $IP saddr . $IP daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random comment "hairpin traffic"
rule masquerading meta mark and $MARK == 0 return
rule masquerading meta mark set meta mark xor $MARK
rule masquerading masquerade fully-random
`

// Text is the input of nft that makes table and rules, without any Service.
func (s *Settings) Text() string {
	local, remote := s.detectLocal()
	offCluster := "jump mark-for-masquerade comment \"masquerade traffic from outside the cluster\""
	switch {
	case s.MasqueradeAll:
	case remote != "":
		offCluster = remote + " " + offCluster
	default:
		offCluster = ""
	}
	cidr := ""
	if s.ServiceCIDR.IsValid() && s.ServiceCIDR.Addr().Is6() == s.ipv6() {
		cidr = s.ServiceCIDR.String()
	}
	return s.expand(text, map[string]string{
		"$POD": local, "$OFFCLUSTER": offCluster, "$SERVICECIDR": cidr, "$MARK": fmt.Sprintf("%#x", uint32(1)<<s.MasqueradeBit),
	})
}

// Anew is the input of nft before Text that leaves nothing of the table there may be.
func (s *Settings) Anew() string {
	return s.expand("add table $IP kube-proxy\ndelete table $IP kube-proxy\n", nil)
}

// expand fills in variables and spells out "chain" and "rule". A rule with a variable
// that is empty does not apply and is left out.
func (s *Settings) expand(text string, vars map[string]string) string {
	ip, addr := "ip", "ipv4_addr"
	if s.ipv6() {
		ip, addr = "ip6", "ipv6_addr"
	}
	var out strings.Builder
line:
	for line := range strings.Lines(text) {
		for name, value := range vars {
			if !strings.Contains(line, name) {
				continue
			}
			if value == "" {
				continue line
			}
			line = strings.ReplaceAll(line, name, value)
		}
		if chain, ok := strings.CutPrefix(line, "chain "); ok {
			line = "add chain $IP kube-proxy " + chain + "flush chain $IP kube-proxy " + strings.Fields(chain)[0] + "\n"
		} else if rule, ok := strings.CutPrefix(line, "rule "); ok {
			line = "add rule $IP kube-proxy " + rule
		}
		out.WriteString(strings.NewReplacer("$IP", ip, "$ADDR", addr).Replace(line))
	}
	return out.String()
}

// detectLocal are the matches of packets from Pods of this node and from others; both
// are empty if nothing can tell them apart.
func (s *Settings) detectLocal() (local, remote string) {
	ip := "ip"
	if s.ipv6() {
		ip = "ip6"
	}
	switch {
	case s.Local.CIDR.IsValid():
		return fmt.Sprintf("%s saddr %s", ip, s.Local.CIDR), fmt.Sprintf("%s saddr != %s", ip, s.Local.CIDR)
	case s.Local.Interface != "":
		name := s.Local.Interface
		if prefix, ok := strings.CutSuffix(name, "+"); ok {
			name = prefix + "*"
		}
		return fmt.Sprintf("iifname %q", name), fmt.Sprintf("iifname != %q", name)
	}
	return "", ""
}
