package apiserver

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/discovery"
	"orrery.example.org/apiserver/openapi"
)

// routes is the map of the server's paths. Every resource goes through one matcher
// (path.go) and is looked up by its name, so that a kind needs no route of its own.
//
// A request's life: record (filters.go) notes it and catches panics, authenticate
// finds the user, a route matches, authorize asks whether he may, and the handler
// answers. For resources that is serveResource (call.go) and then one verb per file.
func (h *handlers) routes() http.Handler {
	// Names may hold any escaped character, and a proxied path must arrive as it was sent.
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.Use(h.authorize)
	r.NotFoundHandler = h.authorize(h.handle(h.noSuchPath))
	r.MethodNotAllowedHandler = h.authorize(h.handle(func(http.ResponseWriter, *http.Request) error { return errMethodNotAllowed() }))

	r.MatcherFunc(matchResource).Handler(h.handle(h.serveResource))
	h.health.register(r)
	r.Handle("/version{slash:/?}", h.handle(h.version)).Methods(http.MethodGet)
	r.Handle("/metrics", h.metrics.handler())
	discovery.Register(r, h.kinds, h.advertise, h.answer)
	openapi.Register(r, h.kinds, Version)
	h.issuer.Register(r, h.advertise)

	index := h.index(r)
	r.Handle("/", index)
	r.Handle("/index.html", index)
	return h.record(h.authenticate(r))
}

// index lists the paths that don't depend on what is stored.
func (h *handlers) index(r *mux.Router) http.Handler {
	var paths []string
	_ = r.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if path = strings.TrimSuffix(path, "{slash:/?}"); err == nil && !strings.Contains(path, "{") {
			paths = append(paths, path)
		}
		return nil
	})
	paths = append(paths, "/apis/")
	slices.Sort(paths)
	body, err := json.MarshalIndent(map[string][]string{"paths": slices.Compact(paths)}, "", "  ")
	return h.handle(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", mediaTypes[jsonMedia])
		_, _ = w.Write(body) // nobody to tell
		return err
	})
}

// noSuchPath answers for paths that nobody serves: with a Status below those of the API,
// in plain text elsewhere.
func (h *handlers) noSuchPath(w http.ResponseWriter, r *http.Request) error {
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	group, _, _ := strings.Cut(rest, "/")
	switch first {
	case "api", "version":
		return errNoSuchPath()
	case "apis":
		for gvr := range h.resources {
			if group != "" && gvr.Group == group {
				return errNoSuchPath()
			}
		}
	}
	http.NotFound(w, r)
	return nil
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
	if vars["watch"] != "" {
		a.Verb = "watch"
	}
	if a.Resource == "namespaces" && a.Group == "" {
		a.Namespace = a.Name // authorizers see a Namespace in itself
	}
	if r.URL.RawQuery != "" {
		describeSelectors(a, r)
	}
}

// describeSelectors fills in what a collection is limited to. Who asks for just one name
// asks for that object, as authorizers see it.
func describeSelectors(a *auth.Attributes, r *http.Request) {
	if a.Verb != "list" && a.Verb != "watch" && a.Verb != "deletecollection" {
		return
	}
	q := r.URL.Query()
	if text := q.Get("fieldSelector"); text != "" {
		if s, err := fields.ParseSelector(text); err == nil {
			a.FieldSelector = s.Requirements()
			if name, ok := s.RequiresExactMatch("metadata.name"); ok && a.Verb != "deletecollection" && len(path.IsValidPathSegmentName(name)) == 0 {
				a.Name = name
			}
		}
	}
	if text := q.Get("labelSelector"); text != "" {
		if s, err := labels.Parse(text); err == nil {
			a.LabelSelector, _ = s.Requirements()
		}
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
