// Package discovery tells clients what the server serves: which groups, versions,
// resources and verbs. kubectl turns "po" into GET /api/v1/pods with it.
//
// Upstream counterpart: k8s.io/apiserver/pkg/endpoints/discovery. Two forms go out,
// and the Accept header picks one. The legacy form takes a request per group version
// (/api/v1, /apis/apps/v1, …). The aggregated one (apidiscovery.k8s.io, v2 and v2beta1)
// answers everything on /api and /apis.
//
// In comes the table of kinds. Documents are computed when they are first asked for and
// kept, the aggregated ones as bytes. Left out: groups of other API servers (APIService), and thus
// freshness other than Current.
package discovery

import (
	"net/http"
	"sync"

	"github.com/gorilla/mux"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// Answer writes an object the way the server answers with objects: in the media type
// that the client accepts.
type Answer func(w http.ResponseWriter, r *http.Request, o runtime.Object, gvk schema.GroupVersionKind)

// Register adds the discovery routes for kinds to r. serverAddress is the host:port
// that clients within the cluster should use. The legacy documents go through answer.
func Register(r *mux.Router, kinds []*api.Kind, serverAddress string, answer Answer) {
	legacy := func(build func() runtime.Object) http.Handler {
		build = sync.OnceValue(build)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o := build()
			answer(w, r, o, o.GetObjectKind().GroupVersionKind())
		})
	}
	core, named := split(byGroup(kinds))
	handle(r, "/api", aggregated(core, legacy(func() runtime.Object { return apiVersions(core, serverAddress) }))).Methods("GET")
	handle(r, "/apis", aggregated(named, legacy(func() runtime.Object { return apiGroupList(named) })))
	for _, g := range named {
		handle(r, "/apis/"+g.name, legacy(func() runtime.Object { return apiGroup(g) }))
	}
	for _, g := range append(core, named...) {
		for _, v := range g.versions {
			handle(r, v.path(), legacy(func() runtime.Object { return apiResourceList(v) })).Methods("GET")
		}
	}
}

// handle serves a document with and without a slash at the end, as upstream does.
func handle(r *mux.Router, path string, h http.Handler) *mux.Route {
	return r.Handle(path+"{slash:/?}", h)
}

// aggregated is the document of clients that know the aggregated form, best first:
// kubectl since 1.30 asks for v2, kubectl 1.26 to 1.29 for v2beta1. All others get the
// legacy one.
func aggregated(groups []group, legacy http.Handler) document {
	return document{legacy: legacy, forms: append(
		represent(apidiscoveryv2.SchemeGroupVersion.Version, func() runtime.Object { return groupDiscoveryList(groups) }),
		represent(apidiscoveryv2beta1.SchemeGroupVersion.Version, func() runtime.Object { return asV2beta1(groupDiscoveryList(groups)) })...)}
}
