package apiserver

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
)

func TestResourceVars(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/pods":            "version=v1 resource=pods",
		"/api/v1/pods/":           "version=v1 resource=pods",
		"/api/v1/nodes/n":         "version=v1 resource=nodes name=n",
		"/api/v1/nodes/n/status/": "version=v1 resource=nodes name=n subresource=status",
		"/apis/apps/v1/namespaces/d/deployments/w/scale":       "group=apps version=v1 namespace=d resource=deployments name=w subresource=scale",
		"/api/v1/namespaces":                                   "version=v1 resource=namespaces",
		"/api/v1/namespaces/d":                                 "version=v1 resource=namespaces name=d",
		"/api/v1/namespaces/d/":                                "version=v1 resource=namespaces name=d",
		"/api/v1/namespaces/d/finalize":                        "version=v1 resource=namespaces name=d subresource=finalize",
		"/api/v1/namespaces/d/pods":                            "version=v1 namespace=d resource=pods",
		"/api/v1/namespaces/d/status/x":                        "version=v1 namespace=d resource=status name=x",
		"/api/v1/watch/namespaces/d/pods/p":                    "version=v1 watch=watch namespace=d resource=pods name=p",
		"/api/v1/watch":                                        "version=v1 resource=watch",
		"/api/v1/namespaces/d/pods/p/proxy":                    "version=v1 namespace=d resource=pods name=p subresource=proxy",
		"/api/v1/namespaces/d/pods/p/proxy/":                   "version=v1 namespace=d resource=pods name=p subresource=proxy rest=",
		"/api/v1/namespaces/d/services/https:w:x/proxy/a//b/c": "version=v1 namespace=d resource=services name=https:w:x subresource=proxy rest=a//b/c",
		"/api/v1/nodes/n/proxy/logs%2Fx":                       "version=v1 resource=nodes name=n subresource=proxy rest=logs%2Fx",
		"/api/v1/namespaces/d/pods/a%2Fb":                      "version=v1 namespace=d resource=pods name=a%2Fb",
	} {
		got := resourceVars(path)
		expected := map[string]string{}
		for _, pair := range strings.Fields(want) {
			key, value, _ := strings.Cut(pair, "=")
			expected[key] = value
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s:\n%s", path, diff)
		}
	}
	for _, path := range []string{"/", "/api", "/api/", "/api/v1", "/api/v1/", "/apis/apps", "/apis/apps/v1", "/apis/apps/v1/", "/api//pods",
		"/api/v1//pods", "/api/v1/nodes//status", "/api/v1/nodes/n//x", "/api/v1/nodes/n/status/more", "/api/v1/namespaces/d//", "/version", "/apix/v1/pods"} {
		if got := resourceVars(path); got != nil {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// FuzzResourceVars compares with the router's own patterns.
func FuzzResourceVars(f *testing.F) {
	patterns := mux.NewRouter().SkipClean(true).UseEncodedPath()
	for _, prefix := range []string{"/api/{version}", "/apis/{group}/{version}"} {
		for _, watch := range []string{"/{watch:watch}", ""} {
			patterns.NewRoute().Path(prefix + watch + "/{resource:namespaces}/{name}/{subresource:status|finalize}{slash:/?}")
			for _, collection := range []string{"/namespaces/{namespace}/{resource}", "/{resource}"} {
				patterns.NewRoute().Path(prefix + watch + collection + "{slash:/?}")
				patterns.NewRoute().Path(prefix + watch + collection + "/{name}{slash:/?}")
				patterns.NewRoute().Path(prefix + watch + collection + "/{name}/{subresource:proxy}/{rest:.*}")
				patterns.NewRoute().Path(prefix + watch + collection + "/{name}/{subresource}{slash:/?}")
			}
		}
	}
	for _, seed := range []string{"/api/v1/namespaces/d/pods/p/proxy/a//b", "/apis/apps/v1/watch/namespaces/d/status/", "/api/v1/watch/", "/api/v1/namespaces//pods",
		"/api/v1/watch/namespaces", "/api/watch/watch/watch/watch", "/apis/a/b/namespaces/c/status/d/e", "/api/v1/a/b/proxy", "/api/v1/a%2F/b%20"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		for _, c := range path {
			if c <= ' ' || c > '~' || c == '?' || c == '#' || c == '%' {
				return // no request line has it unescaped
			}
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		var m mux.RouteMatch
		patterns.Match(r, &m)
		delete(m.Vars, "slash")
		got := resourceVars(r.URL.EscapedPath())
		if diff := cmp.Diff(m.Vars, got); diff != "" && (len(m.Vars) > 0 || got != nil) {
			t.Errorf("%s: (-mux +ours)\n%s", path, diff)
		}
	})
}
