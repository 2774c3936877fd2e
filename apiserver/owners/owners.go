// Package owners knows whose an object's fields are: it keeps metadata.managedFields
// on every write, and merges what clients apply.
//
// Upstream counterpart: k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager. Like it,
// this is a shell around apimachinery's managedfields, with client-go's schema of all
// kinds (package fieldschema), which says what the keys of lists are. In go the stored object and its
// successor (or a patch), out come the successor with its owners noted, or the
// conflicts.
//
// The schema takes some time to read, which no cluster that starts should wait for.
// It is loaded when the server is ready. What is written before that and has no owners
// yet is stored without any: an object older than the tracking, which Kubernetes also
// knows. Whoever applies to such an object shares it with "before-first-apply". An
// object that has owners already (from before a restart), and everybody who applies,
// waits for the schema.
//
// Kubernetes: the schema is loaded before the server listens.
package owners

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/fieldschema"
)

// View is what of a kind a request sees. Owners are noted per version and subresource.
type View struct {
	Kind        *api.Kind
	Version     *api.Version // of the request's body
	Subresource string
}

// Tracker keeps the owners of all objects. It is safe for concurrent use.
type Tracker struct {
	load     sync.Once
	loaded   chan struct{}
	schema   managedfields.TypeConverter // once loaded
	managers sync.Map                    // View -> *managedfields.FieldManager
}

// New makes a Tracker that has loaded nothing yet.
func New() *Tracker { return &Tracker{loaded: make(chan struct{})} }

// Load parses the schema. Further calls wait for the first.
func (t *Tracker) Load() {
	t.load.Do(func() {
		t.schema = &trusting{TypeConverter: managedfields.NewSchemeTypeConverter(scheme.Scheme, fieldschema.Parser())}
		close(t.loaded)
	})
}

// wait returns when the schema is there.
func (t *Tracker) wait(ctx context.Context) error {
	select {
	case <-t.loaded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Update notes in next that the manager owns what differs from live. live has no uid
// if next is new. What next itself says about owners counts for whole objects, so that
// a client can give fields away; an empty list of them forgets all.
func (t *Tracker) Update(ctx context.Context, v View, live, next api.Object, manager string) error {
	select {
	case <-t.loaded:
	default:
		if len(live.GetManagedFields()) == 0 {
			next.SetManagedFields(nil)
			return nil
		}
		if err := t.wait(ctx); err != nil {
			return err
		}
	}
	m, err := t.manager(v)
	if err != nil {
		return err
	}
	// What isn't valid cannot be compared either; validation will say so better.
	m.UpdateNoErrors(live, next, manager)
	return nil
}

// Apply merges the patch into live for the manager: it owns the fields it names, and
// those it named before and doesn't now are removed, if nobody else owns them. Where
// somebody else does and has other values, that is a conflict; force takes them over.
func (t *Tracker) Apply(ctx context.Context, v View, live api.Object, patch *unstructured.Unstructured, manager string, force bool) (api.Object, error) {
	if err := t.wait(ctx); err != nil {
		return nil, err
	}
	m, err := t.manager(v)
	if err != nil {
		return nil, err
	}
	next, err := m.Apply(live, patch, manager, force)
	if err != nil {
		return nil, err
	}
	return next.(api.Object), nil
}

// manager finds or makes the field manager of a view.
func (t *Tracker) manager(v View) (*managedfields.FieldManager, error) {
	if m, ok := t.managers.Load(v); ok {
		return m.(*managedfields.FieldManager), nil
	}
	c, types, err := newConverter(v), t.schema, error(nil)
	if v.Subresource == "scale" {
		if types, err = scales(); err != nil {
			return nil, fmt.Errorf("read the schema of Scale: %w", err)
		}
	}
	m, err := managedfields.NewDefaultFieldManager(types, c, c, c,
		v.Version.GroupVersionKind, c.versions[0].GroupVersion(), v.Subresource, v.resets())
	if err != nil {
		return nil, fmt.Errorf("track the fields of %s: %w", v.Version.GroupVersionKind, err)
	}
	t.managers.Store(v, m)
	return m, nil
}

// resets are the fields that cannot be written, and so not owned, through the view.
func (v View) resets() map[fieldpath.APIVersion]fieldpath.Filter {
	if v.Kind.Status == nil {
		return nil
	}
	all := func(f fieldpath.Filter) map[fieldpath.APIVersion]fieldpath.Filter {
		filters := map[fieldpath.APIVersion]fieldpath.Filter{}
		for _, version := range v.Kind.Versions {
			filters[fieldpath.APIVersion(version.GroupVersion().String())] = f
		}
		return filters
	}
	var set *fieldpath.Set
	switch v.Subresource {
	case "ephemeralcontainers":
		return all(fieldpath.NewIncludeMatcherFilter(fieldpath.MakePrefixMatcherOrDie("spec", "ephemeralContainers")))
	case "", "finalize":
		set = fieldpath.NewSet(fieldpath.MakePathOrDie("status"))
	case "status":
		set = fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
		for _, name := range v.Kind.StatusKeeps {
			set.Insert(fieldpath.MakePathOrDie("metadata", name))
		}
	default:
		return nil
	}
	return all(fieldpath.NewExcludeSetFilter(set))
}
