package discovery

import (
	"encoding/json"
	"fmt"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// groupDiscoveryList is everything about groups in one document.
func groupDiscoveryList(groups []group) *apidiscoveryv2.APIGroupDiscoveryList {
	list := &apidiscoveryv2.APIGroupDiscoveryList{}
	list.SetGroupVersionKind(apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList"))
	for _, g := range groups {
		d := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			d.Versions = append(d.Versions, versionDiscovery(v))
		}
		list.Items = append(list.Items, d)
	}
	return list
}

func versionDiscovery(v groupVersion) apidiscoveryv2.APIVersionDiscovery {
	d := apidiscoveryv2.APIVersionDiscovery{
		Version:   v.Version,
		Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
	}
	for _, k := range v.kinds {
		d.Resources = append(d.Resources, resourceDiscovery(k, k.Version(v.GroupVersion)))
	}
	return d
}

func resourceDiscovery(k *api.Kind, v *api.Version) apidiscoveryv2.APIResourceDiscovery {
	d := apidiscoveryv2.APIResourceDiscovery{
		Resource:         k.Resource,
		ResponseKind:     (*metav1.GroupVersionKind)(&v.GroupVersionKind),
		Scope:            apidiscoveryv2.ScopeCluster,
		SingularResource: k.Singular,
		Verbs:            verbs(k, v),
		ShortNames:       k.ShortNames,
		Categories:       k.Categories,
	}
	if k.Namespaced {
		d.Scope = apidiscoveryv2.ScopeNamespace
	}
	for _, s := range subresources(k) {
		gvk := v.GroupVersionKind
		if s.GVK != (schema.GroupVersionKind{}) {
			gvk = s.GVK
		}
		d.Subresources = append(d.Subresources, apidiscoveryv2.APISubresourceDiscovery{
			Subresource:  s.Name,
			ResponseKind: (*metav1.GroupVersionKind)(&gvk),
			Verbs:        s.Verbs,
		})
	}
	return d
}

// asV2beta1 converts through JSON, which is the same in both versions.
func asV2beta1(list *apidiscoveryv2.APIGroupDiscoveryList) *apidiscoveryv2beta1.APIGroupDiscoveryList {
	old := &apidiscoveryv2beta1.APIGroupDiscoveryList{}
	data, err := json.Marshal(list)
	if err == nil {
		err = json.Unmarshal(data, old)
	}
	if err != nil {
		panic(fmt.Sprintf("convert discovery to v2beta1: %v", err)) // both are plain structs
	}
	old.SetGroupVersionKind(apidiscoveryv2beta1.SchemeGroupVersion.WithKind("APIGroupDiscoveryList"))
	return old
}
