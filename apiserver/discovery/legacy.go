package discovery

import (
	"crypto/sha256"
	"encoding/base64"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// apiVersions answers /api. It and /api/v1 carry no apiVersion, as the first clients
// of Kubernetes knew them.
func apiVersions(core []group, serverAddress string) *metav1.APIVersions {
	doc := &metav1.APIVersions{
		TypeMeta:                   metav1.TypeMeta{Kind: "APIVersions"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: serverAddress}},
	}
	for _, g := range core {
		for _, v := range g.versions {
			doc.Versions = append(doc.Versions, v.Version)
		}
	}
	return doc
}

// apiGroupList answers /apis.
func apiGroupList(groups []group) *metav1.APIGroupList {
	doc := &metav1.APIGroupList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"},
		Groups:   []metav1.APIGroup{},
	}
	for _, g := range groups {
		entry := apiGroup(g)
		entry.TypeMeta = metav1.TypeMeta{}
		doc.Groups = append(doc.Groups, *entry)
	}
	return doc
}

// apiGroup answers /apis/GROUP.
func apiGroup(g group) *metav1.APIGroup {
	doc := &metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"},
		Name:     g.name,
	}
	for _, v := range g.versions {
		doc.Versions = append(doc.Versions, metav1.GroupVersionForDiscovery{GroupVersion: v.String(), Version: v.Version})
	}
	doc.PreferredVersion = doc.Versions[0]
	return doc
}

// apiResourceList answers /api/v1 and /apis/GROUP/VERSION. Here a subresource is a
// row of its own, "pods/log".
func apiResourceList(v groupVersion) *metav1.APIResourceList {
	doc := &metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: v.String(),
	}
	if v.Group == "" {
		doc.APIVersion = ""
	}
	for _, k := range v.kinds {
		served := k.Version(v.GroupVersion)
		d := resourceDiscovery(k, served)
		row := resourceRow(v.GroupVersion, d.Resource, d.ResponseKind, d.Verbs, k.Namespaced)
		row.SingularName, row.ShortNames, row.Categories = k.Singular, k.ShortNames, k.Categories
		if served.NewList != nil {
			row.StorageVersionHash = storageVersionHash(k.Storage())
		}
		doc.APIResources = append(doc.APIResources, row)
		for _, s := range d.Subresources {
			doc.APIResources = append(doc.APIResources, subresourceRow(v.GroupVersion, d.Resource, s, k.Namespaced))
		}
	}
	return doc
}

func subresourceRow(gv schema.GroupVersion, resource string, s apidiscoveryv2.APISubresourceDiscovery, namespaced bool) metav1.APIResource {
	return resourceRow(gv, resource+"/"+s.Subresource, s.ResponseKind, s.Verbs, namespaced)
}

// resourceRow names group and version only where they differ from the document's.
func resourceRow(gv schema.GroupVersion, name string, kind *metav1.GroupVersionKind, verbs []string, namespaced bool) metav1.APIResource {
	row := metav1.APIResource{Name: name, Kind: kind.Kind, Verbs: verbs, Namespaced: namespaced}
	if (schema.GroupVersion{Group: kind.Group, Version: kind.Version}) != gv {
		row.Group, row.Version = kind.Group, kind.Version
	}
	return row
}

// storageVersionHash changes when objects begin to be stored as another version;
// storage migrators watch it.
func storageVersionHash(v *api.Version) string {
	sum := sha256.Sum256([]byte(v.Group + "/" + v.Version + "/" + v.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}
