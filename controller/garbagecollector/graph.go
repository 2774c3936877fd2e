package garbagecollector

import (
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/podstate"
	"orrery.example.org/controller/resources"
)

// identity says which object a node of the graph stands for.
type identity struct {
	resource        *resources.Resource // nil: of a kind the API server does not have
	namespace, name string
	uid             types.UID
}

// node is an object: whom it names as owners, and who names it.
type node struct {
	identity
	owners     []metav1.OwnerReference
	dependents map[types.UID]*node

	// virtual: somebody names it as an owner, but no informer has shown it. It may be
	// late, or it may not exist; only the API server knows.
	virtual bool

	deleting   bool // has a deletionTimestamp
	foreground bool // is being deleted, after its dependents
	orphaning  bool // is being deleted, and its dependents are to stay
}

// graph is every object and its owners, as the informers show them. The methods that
// take in a change return the objects that must be looked at because of it. Pure.
type graph struct {
	catalog *resources.Catalog

	mu    sync.Mutex
	nodes map[types.UID]*node
	gone  map[types.UID]bool // seen to be deleted; a UID never comes back
}

// goneLimit bounds the memory of deleted owners. It only saves requests.
const goneLimit = 1000

func newGraph(catalog *resources.Catalog) *graph {
	return &graph{catalog: catalog, nodes: map[types.UID]*node{}, gone: map[types.UID]bool{}}
}

// observe takes in an object that appeared or changed.
func (g *graph) observe(r *resources.Resource, obj metav1.Object) (look []types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[obj.GetUID()]
	if n == nil {
		n = &node{dependents: map[types.UID]*node{}}
		g.nodes[obj.GetUID()] = n
	}
	seen := identity{r, obj.GetNamespace(), obj.GetName(), obj.GetUID()}
	if n.virtual && n.identity != seen {
		look = append(look, keys(n.dependents)...) // they named it by a wrong kind, namespace or name
	}
	n.identity, n.virtual = seen, false
	look = append(look, g.link(n, ownersOf(obj))...)

	deleting := obj.GetDeletionTimestamp() != nil
	foreground := deleting && slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
	orphaning := deleting && slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents)
	if foreground && !n.foreground {
		look = append(look, n.uid)
		look = append(look, keys(n.dependents)...)
	}
	if orphaning && !n.orphaning {
		look = append(look, n.uid)
	}
	n.deleting, n.foreground, n.orphaning = deleting, foreground, orphaning
	return look
}

// ownersOf is the object's owners. A mirror Pod belongs to its node, whose agent makes
// it again whatever anybody does.
func ownersOf(obj metav1.Object) []metav1.OwnerReference {
	if _, mirror := obj.GetAnnotations()[podstate.MirrorAnnotation]; mirror {
		return nil
	}
	return obj.GetOwnerReferences()
}

// link makes owners the owners of n.
func (g *graph) link(n *node, owners []metav1.OwnerReference) (look []types.UID) {
	for _, old := range n.owners {
		i := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool { return o.UID == old.UID })
		owner := g.nodes[old.UID]
		if owner == nil {
			continue
		}
		if owner.foreground && blocks(old) && (i < 0 || !blocks(owners[i])) {
			look = append(look, owner.uid) // it may have waited for this
		}
		if i < 0 {
			delete(owner.dependents, n.uid)
		}
	}
	n.owners = slices.Clone(owners)
	for _, ref := range owners {
		if g.gone[ref.UID] {
			look = append(look, n.uid)
			continue
		}
		owner := g.nodes[ref.UID]
		if owner == nil {
			owner = &node{identity: g.named(n, ref), dependents: map[types.UID]*node{}, virtual: true}
			g.nodes[ref.UID] = owner
			look = append(look, ref.UID)
		}
		owner.dependents[n.uid] = n
		if owner.foreground || owner.identity != g.named(n, ref) {
			look = append(look, n.uid)
		}
	}
	return look
}

// named is the object that n means by an owner reference. An owner lives in the same
// namespace, or in none.
func (g *graph) named(n *node, ref metav1.OwnerReference) identity {
	r := g.catalog.ByKind(ref.APIVersion, ref.Kind)
	id := identity{resource: r, name: ref.Name, uid: ref.UID}
	if r != nil && r.Namespaced {
		id.namespace = n.namespace
	}
	return id
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// remove takes in that an object is gone. certain is false where only a reference to
// it turned out to lead nowhere.
func (g *graph) remove(uid types.UID, certain bool) (look []types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil || !certain && !n.virtual {
		return nil
	}
	delete(g.nodes, uid)
	if certain && len(n.dependents) > 0 {
		if len(g.gone) >= goneLimit {
			clear(g.gone)
		}
		g.gone[uid] = true
	}
	for _, ref := range n.owners {
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		delete(owner.dependents, uid)
		if owner.foreground {
			look = append(look, owner.uid)
		}
		if owner.virtual && len(owner.dependents) == 0 {
			delete(g.nodes, owner.uid)
		}
	}
	return append(look, keys(n.dependents)...)
}

// view is a copy of a node, to be read without the lock.
type view struct {
	node
	dependents []node // without their own dependents
}

// view copies a node, or returns nil.
func (g *graph) view(uid types.UID) *view {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return nil
	}
	v := &view{node: *n}
	v.node.dependents = nil
	for _, d := range n.dependents {
		flat := *d
		flat.dependents = nil
		v.dependents = append(v.dependents, flat)
	}
	return v
}

// settled reports whether every owner that the object names is there and staying, as
// far as the graph knows. Then nothing need be asked.
func (g *graph) settled(v *view) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range v.owners {
		owner := g.nodes[ref.UID]
		if owner == nil || owner.virtual || owner.foreground || owner.identity != g.named(&v.node, ref) {
			return false
		}
	}
	return true
}

// isGone reports whether an object was seen to be deleted.
func (g *graph) isGone(uid types.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone[uid]
}

// blocking lists the dependents that a deletion in the foreground waits for.
func (v *view) blocking() []node {
	var out []node
	for _, d := range v.dependents {
		if slices.ContainsFunc(d.owners, func(ref metav1.OwnerReference) bool { return ref.UID == v.uid && blocks(ref) }) {
			out = append(out, d)
		}
	}
	return out
}

func keys(m map[types.UID]*node) []types.UID { return slices.Sorted(maps.Keys(m)) }
