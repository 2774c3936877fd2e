package iptables

import (
	"net/netip"

	"orrery.example.org/proxy/plan"
)

// Service turns the plan of one Service into its rules. nil gives none.
func (s *Settings) Service(svc *plan.Service) ServiceRules {
	var out ServiceRules
	if svc == nil {
		return out
	}
	for i := range svc.Ports {
		w := s.newPortWriter(&svc.Ports[i], &out)
		w.capture()
		w.endpointChains()
		w.policyChains()
		w.externalChain()
		w.firewallChain()
	}
	return out
}

// portWriter makes the rules of one port of a Service.
type portWriter struct {
	*Settings
	*plan.Port
	out             *ServiceRules
	name            string // "ns/svc:port"
	proto           Match
	cluster, local  []netip.AddrPort
	clusterChain    string
	localChain      string
	externalChainNm string
	firewallChainNm string
}

func (s *Settings) newPortWriter(p *plan.Port, out *ServiceRules) *portWriter {
	hash := chainHash(p.Name, "")
	return &portWriter{
		Settings: s, Port: p, out: out,
		name: p.Name.String(), proto: proto(protocolOf(p.Name)),
		cluster: p.ClusterEndpoints(), local: p.LocalEndpoints(),
		clusterChain: prefixCluster + hash, localChain: prefixLocal + hash,
		externalChainNm: prefixExternal + hash, firewallChainNm: prefixFirewall + hash,
	}
}

// internalChain serves the ClusterIP; ok is false where it has no endpoints to give.
func (w *portWriter) internalChain() (chain string, ok bool) {
	if w.InternalLocal {
		return w.localChain, len(w.local) > 0
	}
	return w.clusterChain, w.HasEndpoints
}

// externalPolicyChain serves traffic from outside the cluster.
func (w *portWriter) externalPolicyChain() (chain string, ok bool) {
	if w.ExternalLocal {
		return w.localChain, len(w.local) > 0
	}
	return w.clusterChain, w.HasEndpoints
}

func (w *portWriter) usesFirewall() bool {
	return w.HasEndpoints && len(w.LoadBalancerIPs) > 0 && len(w.SourceRanges) > 0
}

// capture writes the rules in shared chains: what leads an address to the Service's
// chains, or refuses it where there are no endpoints to serve it (P7 to P14).
func (w *portWriter) capture() {
	chain, served := w.internalChain()
	if served {
		w.dispatch(Place{Nat, chainServices}, chain, w.to(w.name+" cluster IP", w.ClusterIP)...)
	} else {
		w.refuse(chainServices, w.to("", w.ClusterIP)...)
	}
	_, servedOutside := w.externalPolicyChain()
	outside := func(kind, chain string, addr netip.Addr) {
		if w.HasEndpoints {
			w.dispatch(Place{Nat, chainServices}, chain, w.to(w.name+kind, addr)...)
		}
		if !servedOutside {
			w.refuse(chainExternalServices, w.to("", addr)...)
		}
	}
	for _, addr := range w.ExternalIPs {
		outside(" external IP", w.externalChainNm, addr)
	}
	balanced := w.externalChainNm
	if w.usesFirewall() {
		balanced = w.firewallChainNm
	}
	for _, addr := range w.LoadBalancerIPs {
		outside(" loadbalancer IP", balanced, addr)
		if w.usesFirewall() {
			// What the firewall chain let through has another destination by now.
			w.dispatch(Place{Filter, chainProxyFirewall}, targetDrop,
				w.to(w.name+" traffic not accepted by "+w.firewallChainNm, addr)...)
		}
	}
	w.captureNodePorts(servedOutside)
}

func (w *portWriter) captureNodePorts(servedOutside bool) {
	if w.NodePort != 0 {
		if w.HasEndpoints {
			w.dispatch(Place{Nat, chainNodePorts}, w.externalChainNm, comment(w.name), w.proto, destPort(w.NodePort))
		}
		if !servedOutside {
			w.refuse(chainExternalServices, comment(""), dstType("LOCAL"), w.proto, destPort(w.NodePort))
		}
	}
	if w.HealthCheckNodePort != 0 {
		w.dispatch(Place{Filter, chainNodePorts}, targetAccept,
			comment(w.name+" health check node port"), proto("tcp"), destPort(w.HealthCheckNodePort))
	}
}

// to matches traffic to one of the port's addresses.
func (w *portWriter) to(text string, addr netip.Addr) []Match {
	return []Match{comment(text), w.proto, destAddr(addr), destPort(w.Port.Port)}
}

// refuse turns traffic away: with an error where nothing could serve it, in silence
// where only this node cannot, so that a load balancer tries another one. match begins
// with the comment, which refuse fills in.
func (w *portWriter) refuse(chain string, match ...Match) {
	target, why := targetReject, " has no endpoints"
	if w.HasEndpoints {
		target, why = targetDrop, " has no local endpoints"
	}
	match[0] = comment(w.name + why)
	w.dispatch(Place{Filter, chain}, target, match...)
}

func (w *portWriter) dispatch(place Place, target string, match ...Match) {
	w.out.Dispatch = append(w.out.Dispatch, Placed{place, Rule{match, jump(target)}})
}

func (w *portWriter) own(chain string, rules []Rule) {
	w.out.Own = append(w.out.Own, Chain{Place{Nat, chain}, rules})
}

// endpointChains send traffic to one endpoint each.
func (w *portWriter) endpointChains() {
	for _, ep := range w.Reachable() {
		chain := endpointChain(w.Name, ep)
		// An endpoint that reaches itself through its Service must see another source,
		// or it would answer itself directly (P22).
		hairpin := Rule{append(w.note(w.name), sourceAddr(ep.Addr())), jump(chainMarkMasq)}
		match := w.note(w.name)
		if w.AffinitySeconds > 0 {
			match = append(match, remember(chain))
		}
		match = append(match, w.proto)
		w.own(chain, []Rule{hairpin, {match, Target{targetDNAT, "--to-destination", ep.String()}}})
	}
}

// note is the comment of a rule that exists once per endpoint.
func (w *portWriter) note(text string) []Match {
	if w.Terse {
		return nil
	}
	return []Match{comment(text)}
}

// policyChains choose one of the endpoints that a traffic policy allows.
func (w *portWriter) policyChains() {
	internal, _ := w.internalChain()
	for _, c := range []struct {
		name      string
		endpoints []netip.AddrPort
	}{{w.clusterChain, w.cluster}, {w.localChain, w.local}} {
		if len(c.endpoints) == 0 {
			continue
		}
		var rules []Rule
		if c.name == internal {
			rules = w.masqueradeInternal()
		}
		w.own(c.name, append(rules, w.balance(c.endpoints)...))
	}
}

// masqueradeInternal marks traffic to the ClusterIP that comes from outside the
// cluster: it may leave for another node, and the answer must come back here (P9, P24).
func (w *portWriter) masqueradeInternal() []Rule {
	match := w.to(w.name+" cluster IP", w.ClusterIP)
	if !w.MasqueradeAll {
		local, known := w.fromHere()
		if !known {
			return nil
		}
		match = append(match, not(local))
	}
	return []Rule{{match, jump(chainMarkMasq)}}
}

// balance first returns clients to the endpoint they had, then spreads the others: the
// i-th of n rules takes 1/(n-i) of what reaches it, so that each gets 1/n of all (P8).
func (w *portWriter) balance(endpoints []netip.AddrPort) []Rule {
	var rules []Rule
	if w.AffinitySeconds > 0 {
		for _, ep := range endpoints {
			chain := endpointChain(w.Name, ep)
			match := append(w.note(w.name+" -> "+ep.String()), seenWithin(chain, w.AffinitySeconds))
			rules = append(rules, Rule{match, jump(chain)})
		}
	}
	for i, ep := range endpoints {
		match := w.note(w.name + " -> " + ep.String())
		if left := len(endpoints) - i; left > 1 {
			match = append(match, oneIn(left))
		}
		rules = append(rules, Rule{match, jump(endpointChain(w.Name, ep))})
	}
	return rules
}

// externalChain takes all traffic to addresses that are reached from outside. It exists
// also where no local endpoint does, for the short cuts (P18, P19).
func (w *portWriter) externalChain() {
	if !w.HasEndpoints || !w.ExternallyAccessible() {
		return
	}
	about := func(what string) Match { return comment(what + " for " + w.name + " external destinations") }
	var rules []Rule
	if !w.ExternalLocal {
		rules = append(rules, Rule{[]Match{about("masquerade traffic")}, jump(chainMarkMasq)})
	} else {
		// Pods and the node itself get what a balancer outside would give them: all
		// endpoints. A Pod keeps its address. The node's own could be the balancer's.
		if local, known := w.fromHere(); known {
			rules = append(rules, Rule{[]Match{about("pod traffic"), local}, jump(w.clusterChain)})
		}
		rules = append(rules,
			Rule{[]Match{about("masquerade LOCAL traffic"), srcType("LOCAL")}, jump(chainMarkMasq)},
			Rule{[]Match{about("route LOCAL traffic"), srcType("LOCAL")}, jump(w.clusterChain)})
	}
	if chain, served := w.externalPolicyChain(); served {
		rules = append(rules, Rule{nil, jump(chain)})
	}
	w.own(w.externalChainNm, rules)
}

// firewallChain lets only the source ranges through to a load balancer's address (P15).
func (w *portWriter) firewallChain() {
	if !w.usesFirewall() {
		return
	}
	from := func(m Match) Rule {
		return Rule{[]Match{comment(w.name + " loadbalancer IP"), m}, jump(w.externalChainNm)}
	}
	var rules []Rule
	for _, r := range w.SourceRanges {
		rules = append(rules, from(source(r)))
	}
	if w.NodeInSourceRanges {
		for _, addr := range w.LoadBalancerIPs {
			rules = append(rules, from(sourceAddr(addr)))
		}
	}
	fate := comment("other traffic to " + w.name + " will be dropped by " + chainProxyFirewall)
	w.own(w.firewallChainNm, append(rules, Rule{[]Match{fate}, Target{}}))
}

func (s *Settings) ipv6() bool { return s.Family == plan.IPv6 }
