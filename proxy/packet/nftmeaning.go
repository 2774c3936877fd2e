package packet

import "strings"

// nftMeanings say what the rules of proxy/nftables are for, by their chain and a part of
// their text, "" for any. The first that fits counts. PORT stands for the Service's port.
var nftMeanings = []struct{ chain, part, meaning string }{
	{"filter-prerouting-pre-dnat", "", "is it for a load balancer address that not everybody may use?"},
	{"filter-output-pre-dnat", "", "is it for a load balancer address that not everybody may use?"},
	{"firewall-check", "", "the load balancer address of PORT, which has loadBalancerSourceRanges"},
	{"firewall", "source-ranges", "the client is in loadBalancerSourceRanges"},
	{"firewall", "drop", "the client is in none of loadBalancerSourceRanges"},
	{"nat-prerouting", "", "is it for a Service?"},
	{"nat-output", "", "is it for a Service?"},
	{"services", "", "an address of PORT"},
	{"cluster-ip", "goto", "all endpoints"},
	{"cluster-ip-local", "goto", "internalTrafficPolicy Local: this node's endpoints"},
	{"external", "goto", "all endpoints"},
	{"external-local", "short-circuit pod traffic", "a Pod may use all endpoints, whatever externalTrafficPolicy says"},
	{"external-local", "short-circuit local traffic", "a process of the node may use all endpoints, whatever externalTrafficPolicy says"},
	{"external-local", "goto local-endpoint", "externalTrafficPolicy Local: this node's endpoints"},
	{"any-endpoint", "@affinity", "sessionAffinity ClientIP: back to the endpoint that the client had"},
	{"local-endpoint", "@affinity", "sessionAffinity ClientIP: back to the endpoint that the client had"},
	{"any-endpoint", "", "how many endpoints does PORT have?"},
	{"local-endpoint", "", "how many endpoints does PORT have on this node?"},
	{"one-of-", "", "an endpoint of PORT becomes the destination"},
	{"filter-prerouting-post-dnat", "", "a Service has sent it to an endpoint: is that to be remembered?"},
	{"filter-output-post-dnat", "", "a Service has sent it to an endpoint: is that to be remembered?"},
	{"affinity-update", "", "PORT has sessionAffinity"},
	{"remember-", "", "remember which endpoint the client got"},
	{"filter-input", "", "is it for a Service that nothing serves here?"},
	{"filter-forward", "service-endpoints-check", "is it for a Service that nothing serves here?"},
	{"filter-output", "service-endpoints-check", "is it for a Service that nothing serves here?"},
	{"filter-forward", "", "is it still for a ClusterIP?"},
	{"filter-output", "", "is it still for a ClusterIP?"},
	{"service-endpoints-check", "", "nothing serves PORT here: refuse, or drop where another node may serve it"},
	{"cluster-ips-check", "@cluster-ips", "the ClusterIP has no such port: say so"},
	{"cluster-ips-check", "", "no Service has this address of the Service network: silence"},
	{"reject-chain", "", "refuse"},
	{"mark-for-masquerade", "", "ask for masquerading"},
	{"nat-postrouting", "", "does anybody want this masqueraded?"},
	{"masquerading", "hairpin", "an endpoint would talk to itself: masquerade, so that its answer comes back here"},
	{"masquerading", "return", "nobody asked for masquerading"},
	{"masquerading", "meta mark set", "take the mark off, lest the packet is masqueraded twice"},
	{"masquerading", "masquerade", "masquerade: this node's address becomes the source"},
}

// Meaning is what the rule is for.
func (r *nftRule) Meaning(p *Packet) string {
	text := ""
	if strings.Contains(r.text, "jump "+chainMark) {
		text = "masquerade it: " + r.cause().String()
	}
	for _, m := range nftMeanings {
		named := m.chain == r.chain || strings.HasSuffix(m.chain, "-") && strings.HasPrefix(r.chain, m.chain)
		if text == "" && named && strings.Contains(r.text, m.part) {
			text = m.meaning
		}
	}
	name := "a Service"
	if p != nil && r.Service(p).Name.Name != "" {
		name = r.Service(p).String()
	}
	return strings.ReplaceAll(text, "PORT", name)
}

// cause is why a rule that leads to mark-for-masquerade, or masquerades, wants it.
func (r *nftRule) cause() Causes {
	switch {
	case r.chain == "external-local":
		return FromNode
	case r.chain == "external":
		return FromOutside
	case strings.Contains(r.text, "saddr"), strings.Contains(r.text, "iifname"):
		return OffCluster
	}
	return MasqueradeAll
}
