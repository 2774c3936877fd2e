package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// portKey is what joins a Service's port with the ports of its slices.
type portKey struct {
	name     string
	protocol corev1.Protocol
}

// merged holds the endpoints of all slices of a Service by port. An address appears
// once: a slice that is about to be emptied may still list what another has taken over.
type merged map[portKey]map[netip.AddrPort]Endpoint

// mergeSlices joins the slices of a Service (P3).
func (s *Service) mergeSlices(all []*discoveryv1.EndpointSlice, node Node) merged {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	m := merged{}
	for _, slice := range all {
		if string(slice.AddressType) != string(node.Family) {
			continue // the other family's plan, or FQDN, which no proxy serves
		}
		if _, headless := slice.Labels[corev1.IsHeadlessService]; headless {
			s.ignore("slice "+slice.Name, "it was made for a headless Service")
			continue
		}
		for i, p := range slice.Ports {
			switch {
			case p.Name == nil:
				s.ignore(fmt.Sprintf("port %d of slice %s", i, slice.Name), "it has no name")
			case p.Port == nil || *p.Port == 0:
				s.ignore(fmt.Sprintf("port %q of slice %s", *p.Name, slice.Name), "it has no number")
			default:
				m.add(s, slice, p, node)
			}
		}
	}
	return m
}

// add takes the endpoints of one slice for one of its ports.
func (m merged) add(s *Service, slice *discoveryv1.EndpointSlice, p discoveryv1.EndpointPort, node Node) {
	key := portKey{*p.Name, corev1.ProtocolTCP}
	if p.Protocol != nil {
		key.protocol = protocolOf(*p.Protocol)
	}
	if m[key] == nil {
		m[key] = map[netip.AddrPort]Endpoint{}
	}
	for i := range slice.Endpoints {
		in := &slice.Endpoints[i]
		if len(in.Addresses) == 0 {
			continue
		}
		// Only the first address counts: upstream never defined what more would mean.
		addr, ok := parseAddr(in.Addresses[0])
		if !ok || familyOf(addr) != node.Family {
			s.ignore("endpoint "+in.Addresses[0], fmt.Sprintf("it is not an %s address", node.Family))
			continue
		}
		e := endpointOf(in, netip.AddrPortFrom(addr, uint16(*p.Port)), node)
		if old, seen := m[key][e.Addr]; seen && (!old.Terminating || e.Terminating) {
			continue // of two mentions, one that is not terminating wins
		}
		m[key][e.Addr] = e
	}
}

// endpointOf reads one endpoint; a condition that is not set has its documented default.
func endpointOf(in *discoveryv1.Endpoint, addr netip.AddrPort, node Node) Endpoint {
	e := Endpoint{Addr: addr, Ready: in.Conditions.Ready == nil || *in.Conditions.Ready}
	e.Serving = in.Conditions.Serving == nil || *in.Conditions.Serving
	e.Terminating = in.Conditions.Terminating != nil && *in.Conditions.Terminating
	if in.NodeName != nil {
		e.Node = *in.NodeName
		e.OnNode = e.Node == node.Name
	}
	if in.Zone != nil {
		e.Zone = *in.Zone
	}
	if in.TargetRef != nil {
		e.Target = in.TargetRef.Name
	}
	if in.Hints != nil {
		for _, n := range in.Hints.ForNodes {
			e.HintNodes = append(e.HintNodes, n.Name)
		}
		for _, z := range in.Hints.ForZones {
			e.HintZones = append(e.HintZones, z.Name)
		}
	}
	return e
}

// take removes and returns the endpoints of a Service's port. Their order is that of
// their text, as upstream's, so that the same endpoints always give the same rules.
func (m merged) take(name PortName) []Endpoint {
	key := portKey{name.Port, name.Protocol}
	type spelled struct {
		text string
		Endpoint
	}
	var found []spelled
	for addr, e := range m[key] {
		found = append(found, spelled{addr.String(), e})
	}
	slices.SortFunc(found, func(a, b spelled) int { return cmp.Compare(a.text, b.text) })
	out := make([]Endpoint, len(found))
	for i := range found {
		out[i] = found[i].Endpoint
	}
	delete(m, key)
	return out
}

// ignoreRest reports slice ports that no port of the Service asked for.
func (m merged) ignoreRest(s *Service) {
	for key, endpoints := range m {
		s.ignore(fmt.Sprintf("%d endpoints of port %q/%s", len(endpoints), key.name, key.protocol), "the Service has no such port")
	}
	slices.SortFunc(s.Ignored, func(a, b Ignored) int { return cmp.Compare(a.What, b.What) })
	s.Ignored = slices.Compact(s.Ignored)
}
