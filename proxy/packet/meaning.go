package packet

import (
	"strings"

	"orrery.example.org/proxy/iptables"
)

// meanings say what rules are for, by the chain they are in and the target they have.
// Chains that are named after a Service or an endpoint are listed by their prefix; PORT
// stands for the Service's port, ENDPOINT for the target's value.
var meanings = map[[2]string]string{
	{"KUBE-SERVICES", "KUBE-SVC-"}:      "the ClusterIP of PORT",
	{"KUBE-SERVICES", "KUBE-SVL-"}:      "the ClusterIP of PORT, whose internalTrafficPolicy is Local",
	{"KUBE-SERVICES", "KUBE-EXT-"}:      "an address of PORT for clients outside",
	{"KUBE-SERVICES", "KUBE-FW-"}:       "the load balancer address of PORT, which has loadBalancerSourceRanges",
	{"KUBE-SERVICES", "KUBE-NODEPORTS"}: "an address of this node: perhaps a NodePort",
	{"KUBE-SERVICES", "REJECT"}:         "no endpoints for the ClusterIP of PORT: say so",
	{"KUBE-SERVICES", "DROP"}:           "no endpoints of PORT on this node, and internalTrafficPolicy is Local: silence",
	{"KUBE-NODEPORTS", "KUBE-EXT-"}:     "the NodePort of PORT",
	{"KUBE-NODEPORTS", "ACCEPT"}:        "the healthCheckNodePort of PORT: let in",

	{"KUBE-EXTERNAL-SERVICES", "REJECT"}: "no endpoints for an address of PORT for clients outside: say so",
	{"KUBE-EXTERNAL-SERVICES", "DROP"}:   "no endpoints of PORT on this node, and externalTrafficPolicy is Local: silence, so that a load balancer tries another node",
	{"KUBE-PROXY-FIREWALL", "DROP"}:      "what loadBalancerSourceRanges of PORT did not let through",

	{"KUBE-EXT-", "KUBE-SVC-"}: "all endpoints of PORT",
	{"KUBE-EXT-", "KUBE-SVL-"}: "externalTrafficPolicy Local: this node's endpoints of PORT",
	{"KUBE-FW-", "KUBE-EXT-"}:  "the client is in loadBalancerSourceRanges of PORT",
	{"KUBE-FW-", ""}:           "the client is in none of loadBalancerSourceRanges of PORT: KUBE-PROXY-FIREWALL will drop this",
	{"KUBE-SVC-", "KUBE-SEP-"}: "an endpoint of PORT",
	{"KUBE-SVL-", "KUBE-SEP-"}: "an endpoint of PORT on this node",
	{"KUBE-SEP-", "DNAT"}:      "ENDPOINT of PORT becomes the destination",

	// With ipvs.
	{"KUBE-SERVICES", "RETURN"}:                            "what the node sends to itself by a loopback address is no Service's",
	{"KUBE-SERVICES", "KUBE-LOAD-BALANCER"}:                "a load balancer's address of a Service",
	{"KUBE-SERVICES", "KUBE-NODE-PORT"}:                    "an address of this node: perhaps a NodePort",
	{"KUBE-SERVICES", "ACCEPT"}:                            "an address of a Service: IPVS will have it, rules of others will not",
	{"KUBE-LOAD-BALANCER", "RETURN"}:                       "externalTrafficPolicy Local: the source stays",
	{"KUBE-NODE-PORT", "RETURN"}:                           "a NodePort whose externalTrafficPolicy is Local: the source stays",
	{"KUBE-NODE-PORT", "ACCEPT"}:                           "a healthCheckNodePort: let in",
	{"KUBE-PROXY-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL"}: "a load balancer's address with loadBalancerSourceRanges",
	{"KUBE-SOURCE-RANGES-FIREWALL", "RETURN"}:              "the client is in loadBalancerSourceRanges",
	{"KUBE-SOURCE-RANGES-FIREWALL", "DROP"}:                "the client is in none of loadBalancerSourceRanges: silence",
	{"KUBE-IPVS-FILTER", "RETURN"}:                         "an address and port of a Service: let in, for IPVS",
	{"KUBE-IPVS-FILTER", "REJECT"}:                         "an address of a Service, but none of its ports: the node's own processes are not to answer there",
	{"KUBE-IPVS-OUT-FILTER", "DROP"}:                       "a process of the node, which loadBalancerSourceRanges do not let in: silence",

	{"KUBE-MARK-MASQ", "MARK"}:          "ask for masquerading",
	{"KUBE-POSTROUTING", "RETURN"}:      "nobody asked for masquerading",
	{"KUBE-POSTROUTING", "MARK"}:        "take the mark off, lest the packet is masqueraded twice",
	{"KUBE-POSTROUTING", "MASQUERADE"}:  "masquerade: this node's address becomes the source",
	{"KUBE-FORWARD", "DROP"}:            "what conntrack does not understand would pass without translation",
	{"KUBE-FORWARD", "ACCEPT"}:          "Service traffic passes, whatever the policy of FORWARD is",
	{"KUBE-FIREWALL", "DROP"}:           "127.0.0.0/8 is for the node itself (CVE-2020-8558)",
	{"POSTROUTING", "KUBE-POSTROUTING"}: "does anybody want this masqueraded?",
	{"FORWARD", "KUBE-FORWARD"}:         "let Service traffic pass",
}

// questions are what the jumps from the kernel's own chains ask.
var questions = map[string]string{
	"KUBE-SERVICES":          "is it for a Service?",
	"KUBE-EXTERNAL-SERVICES": "is it for a Service that nothing serves here?",
	"KUBE-NODEPORTS":         "is it a load balancer's health check?",
	"KUBE-PROXY-FIREWALL":    "is it for a load balancer address that does not admit it?",
	"KUBE-FIREWALL":          "is it from outside for a loopback address?",
	"KUBE-NODE-PORT":         "is it a load balancer's health check?",
	"KUBE-IPVS-FILTER":       "is it for an address of a Service?",
	"KUBE-IPVS-OUT-FILTER":   "is it the node's own, for a load balancer address that does not admit it?",
}

// Meaning is what the rule is for.
func (r *ipRule) Meaning(*Packet) string {
	target := r.rule.Target.Name
	if target == chainMarkMasq {
		return "masquerade it: " + r.cause().String()
	}
	text := r.short()
	if text == "" {
		text = meanings[[2]string{prefix(r.chain), prefix(target)}]
	}
	if text == "" {
		text = questions[target]
	}
	text = strings.NewReplacer("PORT", r.port.String(), "ENDPOINT", r.rule.Target.Value).Replace(text)
	if endpoint := r.leadsTo(); endpoint != "" {
		text += ": " + endpoint
	}
	return text
}

// short tells the rules of one kind apart that chain and target alone do not.
func (r *ipRule) short() string {
	switch chain := prefix(r.chain); {
	case chain == "KUBE-POSTROUTING" && r.has(iptables.Set):
		return "an endpoint of this node that is its own client must see another source (hairpin)"
	case chain == "KUBE-EXT-" && r.has(iptables.SrcType):
		return "a process of the node may use all endpoints of PORT, whatever externalTrafficPolicy says"
	case chain == "KUBE-EXT-" && (r.has(iptables.Source) || r.has(iptables.InInterface)):
		return "a Pod may use all endpoints of PORT, whatever externalTrafficPolicy says"
	case r.has(iptables.Recent) && r.rule.Target.Name != "DNAT":
		return "sessionAffinity ClientIP: back to the endpoint of PORT that the client had"
	}
	return ""
}

// leadsTo is the endpoint behind a rule that chooses one, as far as its comment tells: in
// a large cluster such rules have none.
func (r *ipRule) leadsTo() string {
	for _, m := range r.rule.Match {
		if _, endpoint, found := strings.Cut(m.Text, " -> "); found && m.Kind == iptables.Comment {
			return endpoint
		}
	}
	return ""
}

// prefix is the part of a chain's name that tells its kind.
func prefix(chain string) string {
	for _, p := range [...]string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"} {
		if strings.HasPrefix(chain, p) {
			return p
		}
	}
	return chain
}
