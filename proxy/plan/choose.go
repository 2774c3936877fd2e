package plan

import "slices"

// Use tells whether traffic under a policy may go to an endpoint, and why.
type Use uint8

// The reasons, the first two for using an endpoint, the others for not using it.
const (
	UsedReady       Use = iota + 1
	UsedTerminating     // it leaves, but still serves and nothing else does
	NotReady
	NotWhileReady // it leaves, and others are ready
	NotServing    // it leaves and does not serve any more
	OtherNodeHint // PreferSameNode: this node has its own
	OtherZoneHint // PreferSameZone: this zone has its own
	OnOtherNode   // the policy is Local
	PolicyNotUsed // the Service has no traffic under that policy
)

// Used tells whether the endpoint gets traffic.
func (u Use) Used() bool { return u == UsedReady || u == UsedTerminating }

var useText = [...]string{
	0:               "not decided",
	UsedReady:       "ready",
	UsedTerminating: "terminating but still serving, and no endpoint is ready",
	NotReady:        "not ready",
	NotWhileReady:   "terminating, and other endpoints are ready",
	NotServing:      "terminating and not serving any more",
	OtherNodeHint:   "its hint names another node, and this node has endpoints of its own",
	OtherZoneHint:   "its hint names another zone, and this zone has endpoints of its own",
	OnOtherNode:     "on another node, and the traffic policy is Local",
	PolicyNotUsed:   "the Service has no traffic under this policy",
}

// String is the reason in words.
func (u Use) String() string { return useText[u] }

// choose decides for every endpoint of a port whether it serves traffic under the
// policies Cluster and Local, and whether the port is served at all (P14, P18, P20,
// P26, P28).
func (p *Port) choose(node Node) {
	for i := range p.Endpoints {
		p.Endpoints[i].Cluster, p.Endpoints[i].Local = PolicyNotUsed, PolicyNotUsed
	}
	if p.UsesCluster() {
		hints := p.hintsFor(node)
		p.decide(func(e *Endpoint) *Use { return &e.Cluster }, func(e *Endpoint) Use { return hints.judge(e, node) })
	}
	if p.UsesLocal() {
		p.decide(func(e *Endpoint) *Use { return &e.Local }, func(e *Endpoint) Use {
			if e.OnNode {
				return UsedReady
			}
			return OnOtherNode
		})
	}
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		p.HasEndpoints = p.HasEndpoints || e.Cluster.Used() || e.Local.Used() ||
			p.UsesLocal() && (e.Ready || e.Serving && e.Terminating)
	}
}

// decide fills in one policy's verdicts: the ready endpoints that judge admits, and
// where there are none, those that terminate but still serve. Hints do not limit the
// latter: they are for endpoints that stay.
func (p *Port) decide(verdict func(*Endpoint) *Use, judge func(*Endpoint) Use) {
	anyReady := false
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		use := judge(e)
		switch {
		case use == OnOtherNode:
		case e.Ready:
			anyReady = anyReady || use.Used()
		case !e.Terminating:
			use = NotReady
		case !e.Serving:
			use = NotServing
		default:
			use = NotWhileReady
		}
		*verdict(e) = use
	}
	if anyReady {
		return
	}
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		if *verdict(e) == NotWhileReady {
			*verdict(e) = UsedTerminating
		}
	}
}

// hints says which kind of topology hints is in force.
type hints uint8

const (
	hintsIgnored hints = iota
	hintsByNode
	hintsByZone
)

// hintsFor tells which hints apply: those that every ready endpoint carries and that
// name this node, or its zone, at least once. Anything less could leave the node
// without endpoints or overload some of them.
func (p *Port) hintsFor(node Node) hints {
	allNode, allZone, hereNode, hereZone := true, true, false, false
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		if !e.Ready {
			continue
		}
		allNode = allNode && len(e.HintNodes) > 0
		allZone = allZone && len(e.HintZones) > 0
		hereNode = hereNode || slices.Contains(e.HintNodes, node.Name)
		hereZone = hereZone || node.Zone != "" && slices.Contains(e.HintZones, node.Zone)
	}
	switch {
	case allNode && hereNode:
		return hintsByNode
	case allZone && hereZone:
		return hintsByZone
	}
	return hintsIgnored
}

// judge applies the hints to one endpoint.
func (h hints) judge(e *Endpoint, node Node) Use {
	switch {
	case h == hintsByNode && !slices.Contains(e.HintNodes, node.Name):
		return OtherNodeHint
	case h == hintsByZone && !slices.Contains(e.HintZones, node.Zone):
		return OtherZoneHint
	}
	return UsedReady
}
