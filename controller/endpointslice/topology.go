package endpointslice

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Topology aware hints: where the annotation service.kubernetes.io/topology-mode says
// Auto, zones get endpoints in proportion to the CPUs of their nodes, their own ones as far
// as that goes. Where they cannot, without some zone's endpoints having far more to do than
// others', nobody gets a hint.
//
// Upstream counterpart: k8s.io/endpointslice/topologycache.
//
// Kubernetes: upstream keeps the hints of slices that need not change, all or none of a
// slice; here each endpoint keeps its own hint as long as that does no harm.

// overload is how much more than the average an endpoint may have to do.
const overload = 0.2

// automatic tells whether a Service asks for these hints.
func automatic(svc *corev1.Service) bool {
	mode, ok := svc.Annotations[corev1.AnnotationTopologyMode]
	if !ok {
		mode = svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	}
	return mode == "Auto" || mode == "auto"
}

// hintAutomatically gives all endpoints their hints, and says for each address family that
// gets none why.
func (s Snapshot) hintAutomatically(all groups) map[discoveryv1.AddressType]string {
	before := map[discoveryv1.AddressType]map[types.UID]string{}
	for _, slice := range s.Existing {
		if before[slice.AddressType] == nil {
			before[slice.AddressType] = map[types.UID]string{}
		}
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && e.Hints != nil && len(e.Hints.ForZones) > 0 {
				before[slice.AddressType][e.TargetRef.UID] = e.Hints.ForZones[0].Name
			}
		}
	}
	endpoints := map[discoveryv1.AddressType][]*discoveryv1.Endpoint{}
	for _, g := range all {
		for _, e := range g.want {
			endpoints[g.addressType] = append(endpoints[g.addressType], e)
		}
	}
	disabled := map[discoveryv1.AddressType]string{}
	for addressType, its := range endpoints {
		disabled[addressType] = spread(its, before[addressType], s.Shares)
	}
	return disabled
}

// cpuShares are the zones' shares in the CPUs of all nodes that are ready, or nil if some
// node does not say.
func cpuShares(nodes []*corev1.Node) map[string]float64 {
	shares, total := map[string]float64{}, 0.0
	for _, node := range nodes {
		_, controlPlane := node.Labels["node-role.kubernetes.io/control-plane"]
		if controlPlane || !ready(node) {
			continue
		}
		zone, cpu := node.Labels[corev1.LabelTopologyZone], float64(node.Status.Allocatable.Cpu().MilliValue())
		if zone == "" || cpu == 0 {
			return nil
		}
		shares[zone] += cpu
		total += cpu
	}
	if len(shares) < 2 {
		return nil
	}
	for zone := range shares {
		shares[zone] /= total
	}
	return shares
}

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// quota is how many endpoints a zone should have.
type quota struct {
	desired float64
	maximum int
}

// quotas shares n endpoints out among the zones, or says why that is not possible.
func quotas(shares map[string]float64, n int) (map[string]quota, string) {
	if shares == nil {
		return nil, "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
	}
	about := fmt.Sprintf("(%d endpoints, %d zones)", n, len(shares))
	if len(shares) > n {
		return nil, "Insufficient number of endpoints " + about
	}
	minimum, left := map[string]int{}, n
	for zone, share := range shares {
		minimum[zone] = int(math.Ceil(share * float64(n) / (1 + overload)))
		left -= minimum[zone]
	}
	if left < 0 {
		return nil, "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold " + about
	}
	out := map[string]quota{}
	for zone, share := range shares {
		out[zone] = quota{max(share*float64(n), float64(minimum[zone])), minimum[zone] + left}
	}
	return out, ""
}

// spread gives the endpoints of one address family their hints, and says why if it cannot.
// before are the zones they were given until now.
func spread(endpoints []*discoveryv1.Endpoint, before map[types.UID]string, shares map[string]float64) (disabled string) {
	endpoints = slices.DeleteFunc(endpoints, func(e *discoveryv1.Endpoint) bool { return !*e.Conditions.Ready })
	if slices.ContainsFunc(endpoints, func(e *discoveryv1.Endpoint) bool { return e.Zone == nil }) {
		return "One or more endpoints do not have a zone specified"
	}
	want, disabled := quotas(shares, len(endpoints))
	if disabled != "" {
		return disabled
	}
	slices.SortFunc(endpoints, func(a, b *discoveryv1.Endpoint) int { return cmp.Compare(a.TargetRef.UID, b.TargetRef.UID) })
	given, of := map[string]int{}, map[*discoveryv1.Endpoint]string{}
	give := func(e *discoveryv1.Endpoint, zone string) { of[e] = zone; given[zone]++ }
	for _, e := range endpoints {
		if zone := before[e.TargetRef.UID]; zone != "" && given[zone] < want[zone].maximum {
			give(e, zone)
		}
	}
	for _, e := range endpoints {
		if of[e] == "" {
			give(e, *e.Zone)
		}
	}
	gives, takes := exchange(want, given)
	for _, e := range endpoints {
		if zone := of[e]; zone == *e.Zone && gives[zone] > 0 && len(takes) > 0 {
			gives[zone]--
			of[e], takes = takes[0], takes[1:]
		}
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: of[e]}}}
	}
	return ""
}

// exchange tells how many endpoints zones that have too many give away, and who takes them,
// the neediest first.
func exchange(want map[string]quota, given map[string]int) (gives map[string]int, takes []string) {
	surplus := map[string]float64{}
	for zone, q := range want {
		surplus[zone] = float64(given[zone]) - q.desired
	}
	gives = map[string]int{}
	for {
		zones := slices.SortedFunc(maps.Keys(surplus), func(a, b string) int {
			return cmp.Or(cmp.Compare(surplus[a], surplus[b]), cmp.Compare(a, b))
		})
		taker, giver := zones[0], zones[len(zones)-1]
		most, least := max(surplus[giver], -surplus[taker]), min(surplus[giver], -surplus[taker])
		if most < 1 || least < 0.5 { // it would not get better by it
			return gives, takes
		}
		surplus[giver]--
		surplus[taker]++
		gives[giver]++
		takes = append(takes, taker)
	}
}
