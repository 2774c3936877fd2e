package resources

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type discovery struct {
	lists []*metav1.APIResourceList
	err   error
}

func (d discovery) ServerPreferredResourcesWithContext(context.Context) ([]*metav1.APIResourceList, error) {
	return d.lists, d.err
}

func TestDiscover(t *testing.T) {
	all := metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	c, err := Discover(t.Context(), discovery{lists: []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: all},
			{Name: "bindings", Kind: "Binding", Namespaced: true, Verbs: metav1.Verbs{"create"}},
		}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "deployments", Kind: "Deployment", Namespaced: true, Verbs: all[:2]}}},
		{GroupVersion: "coordination.k8s.io/v1", APIResources: []metav1.APIResource{{Name: "leases", Kind: "Lease", Namespaced: true, Verbs: all}}},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.All) != 2 {
		t.Errorf("%d resources, want those two that can be listed, watched and deleted", len(c.All))
	}
	// An owner reference may name another version than the one that is preferred here.
	if r := c.ByKind("coordination.k8s.io/v1beta1", "Lease"); r == nil || r.Resource != "leases" || !r.Namespaced || !r.DeleteCollection {
		t.Errorf("leases: %+v", r)
	}
	for _, ref := range [][2]string{{"apps/v1", "Pod"}, {"v1", "Gadget"}, {"a/b/c", "Pod"}} {
		if r := c.ByKind(ref[0], ref[1]); r != nil {
			t.Errorf("%s %s is %s", ref[0], ref[1], r.Resource)
		}
	}
	if _, err := Discover(t.Context(), discovery{err: errors.New("refused")}, nil); err == nil {
		t.Error("an error of discovery is lost")
	}
}
