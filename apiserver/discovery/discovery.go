// Package discovery tells clients what the server serves: which groups, versions,
// resources and verbs. kubectl turns "po" into GET /api/v1/pods with it.
//
// Upstream counterpart: k8s.io/apiserver/pkg/endpoints/discovery. Two forms go out,
// and the Accept header picks one. The legacy form takes a request per group version
// (/api/v1, /apis/apps/v1, …). The aggregated one (apidiscovery.k8s.io, v2 and v2beta1)
// answers everything on /api and /apis.
//
// In comes the table of kinds. Documents are computed when they are first asked for
// and kept as bytes. Left out: groups of other API servers (APIService), and thus
// freshness other than Current.
package discovery

import (
	"github.com/gorilla/mux"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	"k8s.io/apimachinery/pkg/runtime"

	"orrery.example.org/api"
)

// Register adds the discovery routes for kinds to r. serverAddress is the host:port
// that clients within the cluster should use.
func Register(r *mux.Router, kinds []*api.Kind, serverAddress string) {
	groups := byGroup(kinds)
	core, named := split(groups)
	handle(r, "/api", append(aggregated(core),
		plain(func() runtime.Object { return apiVersions(core, serverAddress) })...))
	handle(r, "/apis", append(aggregated(named),
		plain(func() runtime.Object { return apiGroupList(named) })...))

	r.Handle("/", index(groups)).Methods("GET")
	for _, g := range named {
		handle(r, "/apis/"+g.name, plain(func() runtime.Object { return apiGroup(g) }))
	}
	for _, g := range append(core, named...) {
		for _, v := range g.versions {
			handle(r, v.path(), plain(func() runtime.Object { return apiResourceList(v) }))
		}
	}
}

// handle serves a document with and without a slash at the end, as upstream does.
func handle(r *mux.Router, path string, d document) {
	r.Handle(path, d).Methods("GET", "HEAD")
	r.Handle(path+"/", d).Methods("GET", "HEAD")
}

// plain is a document that clients get who ask for nothing special.
func plain(build func() runtime.Object) document {
	return represent("", build)
}

// aggregated is the document of clients that know the aggregated form, best first:
// kubectl since 1.30 asks for v2, kubectl 1.26 to 1.29 for v2beta1.
func aggregated(groups []group) document {
	return append(
		represent(apidiscoveryv2.SchemeGroupVersion.Version, func() runtime.Object { return groupDiscoveryList(groups) }),
		represent(apidiscoveryv2beta1.SchemeGroupVersion.Version, func() runtime.Object { return asV2beta1(groupDiscoveryList(groups)) })...)
}
