package discovery

import (
	"slices"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"orrery.example.org/api"
)

// group is one API group and its versions, the preferred one first.
type group struct {
	name     string
	versions []groupVersion
}

// groupVersion holds the kinds that are served under it, by name.
type groupVersion struct {
	schema.GroupVersion
	kinds []*api.Kind
}

// path is where the group version is served.
func (v groupVersion) path() string {
	if v.Group == "" {
		return "/api/" + v.Version
	}
	return "/apis/" + v.Group + "/" + v.Version
}

// groupOrder is upstream's, of the groups that it has (the priorities of its APIServices).
// It matters: where two groups have a resource of one name (events), kubectl means the
// group it sees first.
var groupOrder = []string{"", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
	"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
	"apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io"}

// rank is the place of a group; those nobody knows come last, in the table's order.
func rank(group string) int {
	if i := slices.Index(groupOrder, group); i >= 0 {
		return i
	}
	return len(groupOrder)
}

// byGroup sorts kinds into groups, and by name in these.
func byGroup(kinds []*api.Kind) []group {
	var groups []group
	for _, k := range kinds {
		for _, v := range k.Versions {
			i := slices.IndexFunc(groups, func(g group) bool { return g.name == v.Group })
			if i < 0 {
				i, groups = len(groups), append(groups, group{name: v.Group})
			}
			groups[i].add(v.GroupVersion(), k)
		}
	}
	for _, g := range groups {
		slices.SortStableFunc(g.versions, func(a, b groupVersion) int {
			return version.CompareKubeAwareVersionStrings(b.Version, a.Version) // v1, v1beta1, v1alpha1
		})
		for _, v := range g.versions {
			slices.SortStableFunc(v.kinds, func(a, b *api.Kind) int { return strings.Compare(a.Resource, b.Resource) })
		}
	}
	slices.SortStableFunc(groups, func(a, b group) int { return rank(a.name) - rank(b.name) })
	return groups
}

func (g *group) add(gv schema.GroupVersion, k *api.Kind) {
	for i := range g.versions {
		if g.versions[i].GroupVersion == gv {
			g.versions[i].kinds = append(g.versions[i].kinds, k)
			return
		}
	}
	g.versions = append(g.versions, groupVersion{gv, []*api.Kind{k}})
}

// split separates the core group, which is below /api, from those below /apis.
func split(groups []group) (core, named []group) {
	for _, g := range groups {
		if g.name == "" {
			core = append(core, g)
		} else {
			named = append(named, g)
		}
	}
	return core, named
}

// verbs are what can be done with a kind. One that cannot be listed is not stored:
// a review, say, which is created and answered in one request.
func verbs(k *api.Kind, v *api.Version) []string {
	if k.Measured {
		return []string{"get", "list"}
	}
	if v.NewList == nil {
		return []string{"create"}
	}
	if k.OneByOne {
		return []string{"create", "delete", "get", "list", "patch", "update", "watch"}
	}
	return []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

// subresources lists all of a kind's, those that the table only implies too.
func subresources(k *api.Kind) []api.Subresource {
	subs := slices.Clone(k.Subresources)
	change := []string{"get", "patch", "update"}
	if k.Scale != nil {
		subs = append(subs, api.Subresource{Name: "scale", GVK: autoscalingv1.SchemeGroupVersion.WithKind("Scale"), Verbs: change})
	}
	if k.Status != nil {
		subs = append(subs, api.Subresource{Name: "status", Verbs: change})
	}
	slices.SortFunc(subs, func(a, b api.Subresource) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return subs
}
