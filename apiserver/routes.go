package apiserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/discovery"
	"orrery.example.org/apiserver/openapi"
)

// routes is the map of the server's paths. Every resource goes through a handful of
// patterns and is looked up by its name, so that a kind needs no route of its own.
//
// A request's life: record (filters.go) notes it and catches panics, authenticate
// finds the user, a route matches, authorize asks whether he may, and the handler
// answers. For resources that is serveResource (call.go) and then one verb per file.
func (h *handlers) routes() http.Handler {
	// Names may hold any escaped character, and a proxied path must arrive as it was sent.
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.Use(h.authorize)
	r.NotFoundHandler = h.authorize(h.handle(h.notFound))
	r.MethodNotAllowedHandler = h.authorize(h.handle(func(http.ResponseWriter, *http.Request) error { return errMethodNotAllowed() }))

	h.health.register(r)
	r.Handle("/version", h.handle(h.version)).Methods(http.MethodGet)
	r.Handle("/metrics", h.metrics.handler()).Methods(http.MethodGet)
	discovery.Register(r, h.kinds, h.advertise)
	openapi.Register(r, h.kinds, Version)
	h.issuer.Register(r, h.advertise)

	serve := h.handle(h.serveResource)
	for _, prefix := range []string{"/api/{version}", "/apis/{group}/{version}"} {
		// A Namespace is a resource and a place. These two are its subresources, not
		// collections in a namespace.
		r.Handle(prefix+"/{resource:namespaces}/{name}/{subresource:status|finalize}", serve)

		r.Handle(prefix+"/namespaces/{namespace}/{resource}", serve)
		r.Handle(prefix+"/namespaces/{namespace}/{resource}/{name}", serve)
		r.Handle(prefix+"/namespaces/{namespace}/{resource}/{name}/{subresource}", serve)
		r.Handle(prefix+"/namespaces/{namespace}/{resource}/{name}/{subresource:proxy}/{rest:.*}", serve)
		r.Handle(prefix+"/{resource}", serve)
		r.Handle(prefix+"/{resource}/{name}", serve)
		r.Handle(prefix+"/{resource}/{name}/{subresource}", serve)
		r.Handle(prefix+"/{resource}/{name}/{subresource:proxy}/{rest:.*}", serve)
	}
	return h.record(h.authenticate(r))
}

// notFound answers for paths that are nothing: with a Status below a group that is served,
// elsewhere in plain text.
func (h *handlers) notFound(w http.ResponseWriter, r *http.Request) error {
	if h.ofAGroup(r.URL.Path) {
		return errNoSuchPath()
	}
	http.NotFound(w, r)
	return nil
}

func (h *handlers) ofAGroup(path string) bool {
	if strings.HasPrefix(path, "/api/") {
		return true
	}
	rest, ok := strings.CutPrefix(path, "/apis/")
	group, _, _ := strings.Cut(rest, "/")
	return ok && slices.ContainsFunc(h.kinds, func(k *api.Kind) bool {
		return slices.ContainsFunc(k.Versions, func(v api.Version) bool { return v.Group == group })
	})
}

// handle makes a handler of a function that returns its failure.
func (h *handlers) handle(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
}

// describe fills in what the request is about, from its path.
func describe(a *auth.Attributes, r *http.Request) {
	vars := mux.Vars(r)
	a.Resource = unescape(vars["resource"])
	if a.Resource == "" {
		a.Verb = strings.ToLower(r.Method)
		return
	}
	a.Group, a.Version = vars["group"], vars["version"]
	a.Namespace, a.Name = unescape(vars["namespace"]), unescape(vars["name"])
	a.Subresource = unescape(vars["subresource"])
	a.Verb = verbOf(r, a.Name)
	if a.Resource == "namespaces" && a.Group == "" {
		a.Namespace = a.Name // authorizers see a Namespace in itself
	}
}

// verbOf names what the method does, in the words of RBAC.
func verbOf(r *http.Request, name string) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case name != "":
			return "get"
		case isTrue(r.URL.Query().Get("watch")):
			return "watch"
		}
		return "list"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	return ""
}

// isTrue reads a boolean query parameter as apimachinery does: present but not
// "false" or "0" is true.
func isTrue(s string) bool { return s != "" && s != "0" && !strings.EqualFold(s, "false") }

// unescape undoes what UseEncodedPath leaves escaped. What cannot be unescaped
// names nothing.
func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
