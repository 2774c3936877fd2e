package apiserver

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/alloc"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/auth/rbac"
	"orrery.example.org/apiserver/owners"
	"orrery.example.org/apiserver/store"
	"orrery.example.org/apiserver/usage"
)

// handlers is everything that answers requests.
type handlers struct {
	kinds     []*api.Kind
	resources map[schema.GroupVersionResource]*resource
	advertise string   // host:port
	endpoint  string   // host:port, of any server
	servers   register // nil: this one is alone
	clientCA  []byte   // PEM
	alloc     *alloc.Allocator
	owners    *owners.Tracker
	nodes     *nodeClient
	meter     *usage.Meter // of what they use

	authn  auth.Authenticator
	tokens auth.Tokens
	issuer *auth.Issuer // of ServiceAccounts' tokens
	authz  auth.Authorizer
	rules  *rbac.Index // what there is to hand on
	modes  []string    // of authorization

	pluginsOff map[string]bool // of admission

	health   *health
	metrics  *metrics
	started  <-chan struct{} // closed when the cluster's own objects exist
	stopping chan struct{}   // closed when long requests should end
	stall    time.Duration   // how long a client may not read
	gate     sync.RWMutex    // read-locked by every request, hijacked connections included
	log      *slog.Logger
}

// resource is one kind under one group version.
type resource struct {
	kind    *api.Kind
	version *api.Version
	objects *store.Collection // nil: they are not stored
}

// collect finds the resources of all kinds.
func collect(s *store.Store, kinds []*api.Kind) map[schema.GroupVersionResource]*resource {
	all := map[schema.GroupVersionResource]*resource{}
	for _, k := range kinds {
		for i := range k.Versions {
			v := &k.Versions[i]
			all[v.GroupVersion().WithResource(k.Resource)] = &resource{k, v, s.Collection(k)}
		}
	}
	return all
}

// core finds a resource of the core group, which always exists.
func (h *handlers) core(name string) *resource {
	return h.resources[schema.GroupVersionResource{Version: "v1", Resource: name}]
}

// call is one request for a resource on its way through a verb.
type call struct {
	*resource
	view
	w http.ResponseWriter
	r *http.Request

	namespace, name, subresource string
	user                         *auth.User
	warned                       []string // the warnings sent so far
}

// view is what a path shows of a stored object and how it writes it back: the object
// itself, its status, its scale or a namespace's finalizers. get, update and patch are
// the same for all of them.
type view struct {
	body *api.Version // what bodies are
	show func(stored api.Object) api.Object

	// A body's fields get their owners (own) before anything else happens to it: take
	// makes it complete and comparable with what live makes of the stored object.
	fields owners.View
	take   func(body api.Object) api.Object
	live   func(stored api.Object) api.Object

	// merge makes the successor of old from what was taken, which it may change; check
	// says what is wrong with it; grant fills in what must be allocated, nil if nothing;
	// approve is asked last, nil if nobody has to be.
	merge   func(taken, old api.Object) api.Object
	check   func(next, old api.Object) field.ErrorList
	grant   granter
	approve func(next, old api.Object) error
}

// granter gives next the values it lacks.
type granter func(next, old api.Object, taken alloc.Taken) (alloc.Grant, error)

// verb is one thing that can be done to a resource.
type verb func(h *handlers, c *call) error

var (
	collectionVerbs = map[string]verb{
		"list": (*handlers).list, "watch": (*handlers).watch,
		"create": (*handlers).create, "deletecollection": (*handlers).deleteCollection,
	}
	objectVerbs = map[string]verb{
		"get": (*handlers).get, "update": (*handlers).update,
		"patch": (*handlers).patch, "delete": (*handlers).delete,
		"watch": (*handlers).watch, // by a deprecated path
	}
	questionVerbs = map[string]verb{"create": (*handlers).ask}
	measuredVerbs = map[string]verb{"get": (*handlers).measure, "list": (*handlers).measure}

	viewVerbs = map[string]verb{
		"get": (*handlers).get, "update": (*handlers).update, "patch": (*handlers).patch,
	}
	proxyVerbs = map[string]verb{
		"get": (*handlers).proxy, "create": (*handlers).proxy, "update": (*handlers).proxy,
		"patch": (*handlers).proxy, "delete": (*handlers).proxy, "": (*handlers).proxy,
	}
)

// serveResource answers a request for a resource.
func (h *handlers) serveResource(w http.ResponseWriter, r *http.Request) error {
	a := attributes(r)
	res := h.resources[schema.GroupVersionResource{Group: a.Group, Version: a.Version, Resource: a.Resource}]
	c := &call{resource: res, w: w, r: r, namespace: unescape(mux.Vars(r)["namespace"]), name: unescape(mux.Vars(r)["name"]), subresource: a.Subresource, user: a.User}
	if res == nil || (c.namespace != "" && !res.kind.Namespaced) || (c.namespace == "" && c.name != "" && res.kind.Namespaced) {
		*a = auth.Attributes{User: a.User, Verb: a.Verb, Path: a.Path} // metrics shall not count what doesn't exist
		return h.noSuchPath(w, r)
	}
	select {
	case <-h.started: // who comes early waits a moment instead of finding no namespaces
	case <-c.ctx().Done():
		return c.ctx().Err()
	}
	run, err := h.verb(c, a.Verb)
	if err != nil {
		return err
	}
	if err := acceptable(r, c.produces(a.Verb)); err != nil {
		return err
	}
	if c.kind.Deprecated != "" {
		c.warn(c.kind.Deprecated)
	}
	return run(h, c)
}

// verb finds what to do, and through which view.
func (h *handlers) verb(c *call, name string) (verb, error) {
	verbs := objectVerbs
	switch {
	case c.subresource != "":
		var ok bool
		if verbs, ok = h.subresource(c); !ok {
			return nil, errNoSuchPath()
		}
	case c.kind.Measured:
		verbs = measuredVerbs
	case !c.kind.Stored() && c.name != "":
		return nil, errNoSuchPath()
	case c.version.GroupVersionKind == bindingVersion.GroupVersionKind:
		verbs = map[string]verb{"create": (*handlers).bind}
	case c.name == "":
		verbs = collectionVerbs
		if !c.kind.Stored() {
			verbs = questionVerbs
		}
		c.view = h.objectView(c.resource)
		if c.kind.Namespaced && c.namespace == "" && name != "list" && name != "watch" {
			return nil, errMethodNotAllowed() // writes name their namespace
		}
		if c.kind.OneByOne && name == "deletecollection" {
			return nil, errMethodNotAllowed()
		}
	default:
		c.view = h.objectView(c.resource)
	}
	run := verbs[name]
	if run == nil || (name == "watch" && c.r.Method != http.MethodGet) || (c.r.Method == http.MethodHead && c.subresource != "proxy") {
		return nil, errMethodNotAllowed()
	}
	return run, nil
}

// produces are the media types that the call's verb can answer in.
func (c *call) produces(verb string) []string {
	switch {
	case c.subresource == "log":
		return append([]string{"text/plain"}, representations...)
	case connects(c.kind.Resource, c.subresource) || c.subresource == "proxy":
		return []string{"*/*"}
	case verb == "list" || verb == "watch":
		return withEvents
	}
	return representations
}

// objectView shows the whole object. Writing through it leaves the status alone.
func (h *handlers) objectView(res *resource) view {
	v := wholeView(res, "")
	v.merge = func(next, old api.Object) api.Object {
		res.kind.PrepareForUpdate(next, old)
		return next
	}
	v.check = func(next, old api.Object) field.ErrorList {
		return append(res.kind.CheckUpdate(next, old), res.version.CheckWritten(next, old)...)
	}
	switch res.kind {
	case h.core("services").kind:
		v.grant = h.grantService
	case ipAddressKind:
		v.grant = h.grantAddress
	}
	return v
}

// wholeView is what the views have in common whose bodies are whole objects.
func wholeView(res *resource, subresource string) view {
	return view{
		body:   res.version,
		show:   func(o api.Object) api.Object { return served(res.version, o) },
		fields: owners.View{Kind: res.kind, Version: res.version, Subresource: subresource},
		take: func(body api.Object) api.Object {
			o := stored(res.version, body)
			res.kind.SetDefaults(o)
			return o
		},
		live: func(o api.Object) api.Object { return o },
	}
}

// own takes a client's body and notes whose its fields are.
func (h *handlers) own(c *call, body, old api.Object, manager string) (api.Object, error) {
	next := c.take(body)
	return next, h.owners.Update(c.ctx(), c.fields, c.live(old), next, manager)
}

// stored converts from a served version to the stored one.
func stored(v *api.Version, o api.Object) api.Object {
	if v.ToStorage == nil {
		return o
	}
	return v.ToStorage(o)
}

func (c *call) ctx() context.Context { return c.r.Context() }
