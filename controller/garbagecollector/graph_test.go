package garbagecollector

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/resources"
)

// served is a discovery with three kinds.
type served struct{}

func (served) ServerPreferredResourcesWithContext(context.Context) ([]*metav1.APIResourceList, error) {
	verbs := metav1.Verbs{"get", "list", "watch", "delete", "patch", "deletecollection"}
	return []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: verbs}, {Name: "nodes", Kind: "Node", Verbs: verbs},
		}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "replicasets", Kind: "ReplicaSet", Namespaced: true, Verbs: verbs}}},
	}, nil
}

func testGraph(t *testing.T) *graph {
	t.Helper()
	catalog, err := resources.Discover(t.Context(), served{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newGraph(catalog)
}

// object is called by its UID; its namespace is "default".
func object(uid string, change ...func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: uid, UID: types.UID(uid)}}
	for _, f := range change {
		f(o)
	}
	return o
}

func ownedBy(kind, uid string) func(*metav1.PartialObjectMetadata) {
	apiVersion := map[string]string{"ReplicaSet": "apps/v1", "Node": "v1", "Gadget": "example.org/v1"}[kind]
	return func(o *metav1.PartialObjectMetadata) {
		yes := true
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: uid, UID: types.UID(uid), BlockOwnerDeletion: &yes})
	}
}

func deleting(finalizers ...string) func(*metav1.PartialObjectMetadata) {
	return func(o *metav1.PartialObjectMetadata) {
		o.DeletionTimestamp, o.Finalizers = &metav1.Time{}, finalizers
	}
}

func (g *graph) see(kind string, o *metav1.PartialObjectMetadata) []types.UID {
	apiVersion := map[string]string{"ReplicaSet": "apps/v1"}[kind]
	if apiVersion == "" {
		apiVersion = "v1"
	}
	return g.observe(g.catalog.ByKind(apiVersion, kind), o)
}

func expect(t *testing.T, what string, got []types.UID, want ...types.UID) {
	t.Helper()
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("%s: look at %q, want %q", what, got, want)
	}
}

func TestGraph(t *testing.T) {
	g := testGraph(t)
	expect(t, "an owner nobody has seen must be verified", g.see("Pod", object("p", ownedBy("ReplicaSet", "rs"))), "rs")
	if v := g.view("rs"); !v.virtual || v.resource.Resource != "replicasets" || v.namespace != "default" {
		t.Errorf("virtual owner %+v", v.identity)
	}
	expect(t, "the owner appears", g.see("ReplicaSet", object("rs")))
	if !g.settled(g.view("p")) {
		t.Error("its owner is there, and yet not settled")
	}
	expect(t, "a second dependent", g.see("Pod", object("q", ownedBy("ReplicaSet", "rs"))))
	expect(t, "nothing changed", g.see("Pod", object("q", ownedBy("ReplicaSet", "rs"))))
	expect(t, "the owner goes: its dependents", g.remove("rs", true), "p", "q")
	expect(t, "a dependent that comes late", g.see("Pod", object("late", ownedBy("ReplicaSet", "rs"))), "late")
	expect(t, "a dependent goes", g.remove("p", true))
}

func TestGraphForeground(t *testing.T) {
	g := testGraph(t)
	g.see("ReplicaSet", object("rs"))
	g.see("Pod", object("p", ownedBy("ReplicaSet", "rs")))
	g.see("Pod", object("q", ownedBy("ReplicaSet", "rs")))
	expect(t, "it and all below", g.see("ReplicaSet", object("rs", deleting(metav1.FinalizerDeleteDependents))), "p", "q", "rs")
	if g.settled(g.view("p")) {
		t.Error("settled although the owner is leaving")
	}
	if n := len(g.view("rs").blocking()); n != 2 {
		t.Errorf("%d dependents block", n)
	}
	expect(t, "a dependent goes: the owner may go on", g.remove("p", true), "rs")
	expect(t, "a dependent stops blocking", g.see("Pod", object("q", ownedBy("ReplicaSet", "rs"), func(o *metav1.PartialObjectMetadata) {
		o.OwnerReferences[0].BlockOwnerDeletion = nil
	})), "q", "rs")
	if n := len(g.view("rs").blocking()); n != 0 {
		t.Errorf("%d dependents block", n)
	}
}

func TestGraphOddities(t *testing.T) {
	g := testGraph(t)
	expect(t, "orphaning", g.see("ReplicaSet", object("rs", deleting(metav1.FinalizerOrphanDependents))), "rs")

	g.see("ReplicaSet", object("elsewhere", func(o *metav1.PartialObjectMetadata) { o.Namespace = "other" }))
	expect(t, "an owner in another namespace", g.see("Pod", object("p", ownedBy("ReplicaSet", "elsewhere"))), "p")
	if g.settled(g.view("p")) {
		t.Error("settled with an owner in another namespace")
	}
	g.see("Node", object("node", func(o *metav1.PartialObjectMetadata) { o.Namespace = "" }))
	expect(t, "an owner in no namespace", g.see("Pod", object("q", ownedBy("Node", "node"))))
	expect(t, "a mirror Pod has no owners to us", g.see("Pod", object("m", ownedBy("Node", "absent"), func(o *metav1.PartialObjectMetadata) {
		o.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	})))
	g.see("Pod", object("x", ownedBy("Gadget", "g")))
	if addressable(g.view("g").identity) {
		t.Error("a kind that is not served can be asked for")
	}

	expect(t, "a wrong reference", g.see("Pod", object("y", ownedBy("ReplicaSet", "r2"))), "r2")
	expect(t, "the API server has no such owner", g.remove("r2", false), "y")
	g.see("Pod", object("z", ownedBy("ReplicaSet", "r3")))
	expect(t, "the owner is of another name", g.see("ReplicaSet", object("r3", func(o *metav1.PartialObjectMetadata) { o.Name = "another" })), "z")
	expect(t, "what was seen is not removed on a doubt", g.remove("r3", false))
}

func TestDecide(t *testing.T) {
	const back, fore, orphan = metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan
	for _, row := range []struct {
		name          string
		owners        map[types.UID]state
		finalizers    []string
		hasDependents bool
		want          action
	}{
		{"no owners", nil, nil, false, action{}},
		{"its owner is there", map[types.UID]state{"a": solid}, nil, true, action{}},
		{"one of two is there", map[types.UID]state{"a": solid, "b": absent, "c": waiting}, nil, true, action{drop: []types.UID{"b", "c"}}},
		{"its owner is gone", map[types.UID]state{"a": absent}, nil, true, action{remove: true, policy: back}},
		{"gone, to be orphaned", map[types.UID]state{"a": absent}, []string{metav1.FinalizerOrphanDependents}, true, action{remove: true, policy: orphan}},
		{"gone, in the foreground", map[types.UID]state{"a": absent}, []string{metav1.FinalizerDeleteDependents}, true, action{remove: true, policy: fore}},
		{"its owner waits, for it and those below", map[types.UID]state{"a": waiting}, nil, true, action{remove: true, policy: fore}},
		{"its owner waits, for it alone", map[types.UID]state{"a": waiting}, nil, false, action{remove: true, policy: back}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := decide(row.owners, row.finalizers, row.hasDependents)
			if got.remove != row.want.remove || got.policy != row.want.policy || !slices.Equal(got.drop, row.want.drop) {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}
