// Package resources is the catalog of what the API server holds: every resource that
// discovery lists, its kind, and an informer on it. The namespace loop empties
// namespaces with it, the garbage collector follows owner references through it.
//
// Upstream counterpart: the RESTMapper and pkg/controller/garbagecollector's monitors.
//
// Kubernetes: upstream asks discovery again every 30 s, because custom resources come
// and go. The kinds here are fixed when the API server starts, so once is enough.
package resources

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

// Resource is one row of the catalog.
type Resource struct {
	schema.GroupVersionResource
	Kind             string
	Namespaced       bool
	DeleteCollection bool

	// Informer holds at least the metadata of every object; nil where nobody watches
	// (events: many, short-lived and never owners of anything).
	Informer cache.SharedIndexInformer
}

// GroupVersionKind is the kind with the version that the catalog uses.
func (r *Resource) GroupVersionKind() schema.GroupVersionKind {
	return r.GroupVersion().WithKind(r.Kind)
}

// Catalog is every resource whose objects can be listed, watched and deleted.
type Catalog struct {
	All    []*Resource
	Client metadata.Interface
	byKind map[schema.GroupKind]*Resource
}

// Discovery is the part of client-go's discovery client that Discover needs.
type Discovery interface {
	ServerPreferredResourcesWithContext(context.Context) ([]*metav1.APIResourceList, error)
}

// Discover asks the API server what it serves. Informers are nil until the caller
// sets them.
func Discover(ctx context.Context, d Discovery, client metadata.Interface) (*Catalog, error) {
	lists, err := d.ServerPreferredResourcesWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("discover resources: %w", err)
	}
	c := &Catalog{Client: client, byKind: map[schema.GroupKind]*Resource{}}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("discover resources: %w", err)
		}
		for i := range list.APIResources {
			c.add(gv, &list.APIResources[i])
		}
	}
	return c, nil
}

func (c *Catalog) add(gv schema.GroupVersion, r *metav1.APIResource) {
	for _, verb := range []string{"get", "list", "watch", "delete", "patch"} {
		if !slices.Contains(r.Verbs, verb) {
			return
		}
	}
	row := &Resource{
		GroupVersionResource: gv.WithResource(r.Name),
		Kind:                 r.Kind,
		Namespaced:           r.Namespaced,
		DeleteCollection:     slices.Contains(r.Verbs, "deletecollection"),
	}
	c.All = append(c.All, row)
	c.byKind[row.GroupVersionKind().GroupKind()] = row
}

// ByKind finds the resource that an ownerReference means, or nil.
func (c *Catalog) ByKind(apiVersion, kind string) *Resource {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil
	}
	return c.byKind[gv.WithKind(kind).GroupKind()]
}

// As is the same catalog for somebody else.
func (c *Catalog) As(client metadata.Interface) *Catalog {
	theirs := *c
	theirs.Client = client
	return &theirs
}

// Objects is the metadata client for a resource in a namespace ("" for all or none).
func (c *Catalog) Objects(r *Resource, namespace string) metadata.ResourceInterface {
	if !r.Namespaced {
		return c.Client.Resource(r.GroupVersionResource)
	}
	return c.Client.Resource(r.GroupVersionResource).Namespace(namespace)
}
