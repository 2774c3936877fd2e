package apiserver

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"
)

// matchResource is the route of all resources: a matcher of its own in place of some forty
// patterns, which the router would try one after the other on every request.
//
// Upstream counterpart: RequestInfoFactory in k8s.io/apiserver/pkg/endpoints/request.
func matchResource(r *http.Request, m *mux.RouteMatch) bool {
	m.Vars = resourceVars(r.URL.EscapedPath())
	return m.Vars != nil
}

// resourceVars takes apart the path of a collection, an object, or what is below one. A
// slash at the end makes no difference, but to who is behind a proxy. The parts are as
// escaped as they came; nil is no path of a resource.
//
//	/api/{version}/…  /apis/{group}/{version}/…   and in place of …
//	{resource}                 /{name}   /{subresource}   /{rest}, below proxy only
//	namespaces/{namespace}/{resource}   and so on
//	watch/…                    which is deprecated: ?watch=true says the same
func resourceVars(path string) map[string]string {
	vars := map[string]string{}
	take := func(names ...string) bool {
		for _, name := range names {
			part, rest, _ := strings.Cut(path, "/")
			if part == "" {
				return false
			}
			vars[name], path = part, rest
		}
		return true
	}
	var ok bool
	if path, ok = strings.CutPrefix(path, "/api/"); ok {
		ok = take("version")
	} else if path, ok = strings.CutPrefix(path, "/apis/"); ok {
		ok = take("group", "version")
	}
	if !ok || path == "" {
		return nil
	}
	if rest, ok := strings.CutPrefix(path, "watch/"); ok && rest != "" {
		vars["watch"], path = "watch", rest
	}
	if inNamespace(path) {
		path = strings.TrimPrefix(path, "namespaces/")
		take("namespace")
	}
	if !take("resource") {
		return nil
	}
	for _, name := range []string{"name", "subresource"} {
		if path == "" {
			return vars
		}
		slash := strings.Contains(path, "/")
		if !take(name) {
			return nil
		}
		if name == "subresource" && vars[name] == "proxy" && slash {
			vars["rest"] = path
			return vars
		}
	}
	if path != "" {
		return nil
	}
	return vars
}

// inNamespace tells whether the path goes on in a namespace. A Namespace is a resource and
// a place: itself, its status and its finalizers are not in it.
func inNamespace(path string) bool {
	rest, ok := strings.CutPrefix(path, "namespaces/")
	name, rest, _ := strings.Cut(rest, "/")
	below := strings.TrimSuffix(rest, "/")
	return ok && name != "" && below != "" && below != "status" && below != "finalize"
}
