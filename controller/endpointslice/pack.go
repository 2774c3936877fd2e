package endpointslice

import (
	"cmp"
	"maps"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// packed is one slice's new content. was is nil for a slice that is to be made.
type packed struct {
	was       *discoveryv1.EndpointSlice
	endpoints []discoveryv1.Endpoint
	changed   bool
}

func (p *packed) room() int { return maxEndpoints - len(p.endpoints) }

// pack places the wanted endpoints in slices so that few slices change, not so that
// they are full: each change of a slice goes to every node.
//
//  1. An endpoint stays in the slice it is in.
//  2. New ones fill slices that change anyway.
//  3. The rest goes, if it fits, into the one other slice that it fills best, else
//     into new slices.
func (g *group) pack() []packed {
	out, left := g.keep()
	for _, i := range fullestFirst(out) {
		if out[i].changed {
			left = out[i].take(left)
		}
	}
	for len(left) > 0 {
		var target *packed
		if len(left) < maxEndpoints {
			target = bestFit(out, len(left))
		}
		if target == nil {
			out = append(out, packed{})
			target = &out[len(out)-1]
		}
		left = target.take(left)
	}
	if g.placeholder && len(out) == 0 {
		out = append(out, packed{changed: true, endpoints: []discoveryv1.Endpoint{}})
	}
	return out
}

// keep takes out of the existing slices what is not wanted, and returns what of the
// wanted is in none of them.
func (g *group) keep() (out []packed, left []discoveryv1.Endpoint) {
	want := maps.Clone(g.want)
	slices.SortFunc(g.have, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	for _, slice := range g.have {
		p := packed{was: slice, endpoints: []discoveryv1.Endpoint{}}
		for _, old := range slice.Endpoints {
			var uid types.UID
			if old.TargetRef != nil {
				uid = old.TargetRef.UID
			}
			e, ok := want[uid]
			if !ok || p.room() == 0 { // gone, or in a slice before this one
				p.changed = true
				continue
			}
			delete(want, uid)
			p.changed = p.changed || !apiequality.Semantic.DeepEqual(old, *e)
			p.endpoints = append(p.endpoints, *e)
		}
		out = append(out, p)
	}
	for _, e := range want {
		left = append(left, *e)
	}
	slices.SortFunc(left, func(a, b discoveryv1.Endpoint) int {
		return cmp.Or(cmp.Compare(a.TargetRef.Name, b.TargetRef.Name), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
	})
	return out, left
}

// take moves as many endpoints into the slice as it has room for and returns the rest.
func (p *packed) take(left []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	n := min(p.room(), len(left))
	if n > 0 {
		p.endpoints = append(p.endpoints, left[:n]...)
		p.changed = true
	}
	return left[n:]
}

// bestFit is the fullest slice that has room for n more, or nil.
func bestFit(ps []packed, n int) *packed {
	var best *packed
	for i := range ps {
		if p := &ps[i]; p.room() >= n && (best == nil || p.room() < best.room()) {
			best = p
		}
	}
	return best
}

func fullestFirst(ps []packed) []int {
	order := make([]int, len(ps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ps[a].room(), ps[b].room()) })
	return order
}
