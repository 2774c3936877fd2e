// Package api is what the cluster talks about: one table of kinds (table.go) and,
// beside it, one file per kind with that kind's defaults, validation and printed
// columns. It is pure: no I/O, no clocks but the printed ages, no goroutines.
//
// Upstream counterparts: pkg/apis/*/v1/defaults.go, pkg/apis/*/validation and
// pkg/printers/internalversion of kubernetes/kubernetes, and the REST strategies of
// pkg/registry. The Go types themselves are upstream's own (k8s.io/api).
//
// In go objects as clients sent them, out come objects as they may be stored
// (lifecycle.go), error lists and table cells. Left out: what needs the cluster's state
// (allocation, quotas, deletion) is the API server's; so are names, uids and times.
//
// To add a kind, write a file with one variable, define(Kind{…}, Rules[T]{…}), beside
// the others, and add it to the Table. Everything else follows from the row: paths,
// verbs, watches, discovery, OpenAPI, kubectl's tables, apply, storage, the garbage
// collector's watches. configmap.go is a small one, poddisruptionbudget.go one with a
// spec and a status. Only a subresource of its own (pods/eviction) or a rule that needs
// the cluster's state (admission) touches apiserver/.
//
// Kubernetes: upstream converts every version of a kind to an internal one and back.
// Here a kind is stored as one of its served versions, and only a kind that is served
// under several group versions (Event) brings conversion functions.
package api

import (
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is any API object with metadata.
type Object interface {
	runtime.Object
	metav1.Object
}

// Kind is one row of the table: everything the API server must know of a kind.
// The functions may be nil; use the methods, which know what nil means.
type Kind struct {
	// Versions lists the group versions the kind is served under. The first one is
	// the one objects are stored as; the others convert.
	Versions []Version

	Resource   string   // plural, as in the path: "services"
	Singular   string   // "service"
	ShortNames []string // "svc"
	Categories []string // "all"
	Namespaced bool

	// Subresources that are more than status and scale, for discovery and routing:
	// "binding", "log", "exec", … The API server knows how to serve each.
	Subresources []Subresource

	Columns []Column

	// Rules of the kind, on objects of the storage version.
	Spec   func(Object) any // pointer to the part that metadata.generation counts; nil: none
	Status func(Object) any // pointer to the part behind /status; nil: no such subresource
	Scale  *Scale           // nil: no /scale

	Default        func(Object)
	Requester      func(Object, Requester) // notes who creates it; nil: it doesn't matter
	PrepareCreate  func(Object)            // before validation; status is already reset
	PrepareUpdate  func(new, old Object)   // before validation; status is already the old one
	PrepareStatus  func(new, old Object)   // before validation of /status; all but status and metadata is the old one
	Validate       func(Object) field.ErrorList
	ValidateUpdate func(new, old Object) field.ErrorList
	ValidateStatus func(new, old Object) field.ErrorList
	Fields         func(Object) fields.Set                 // what field selectors may name, beyond metadata.{name,namespace}
	Warnings       func(new, old Object) []string          // Warning headers; old is nil on create
	StatusWarnings func(Object) []string                   // Warning headers on an update of /status
	ValidateName   func(name string, prefix bool) []string // as apimachinery's validation.ValidateNameFunc

	// GracePeriod returns how many seconds a deletion waits for its agent, given what
	// the client asked for (nil: nothing). nil, or 0 returned, deletes at once.
	GracePeriod func(obj Object, asked *int64) int64

	// RowConditions go with a row of kubectl's table: a finished Pod is "Completed".
	RowConditions func(Object) []metav1.TableRowCondition

	TTL time.Duration // objects expire this long after their last write; 0: never

	Deprecated string // Warning header on every request; empty: none

	StatusKeeps []string // what of the metadata an update of the status leaves alone: "labels"

	StatusOnCreate bool // the creator's status counts: nodes register themselves
	Conditional    bool // an update must say which resourceVersion it replaces
	CreateOnUpdate bool // an update of what isn't there creates it
	AnyFinalizer   bool // finalizers need no domain
	Measured       bool // it is looked at and never written
	OneByOne       bool // objects cannot be deleted as a collection
}

// Version is one group version a kind is served under.
type Version struct {
	schema.GroupVersionKind
	New     func() Object
	NewList func() runtime.Object // nil for a kind that is not stored

	// FromStorage and ToStorage convert; nil for the storage version. They may keep
	// references into their argument.
	FromStorage func(Object) Object
	ToStorage   func(Object) Object

	// Validate has rules beyond the kind's for what is written through this version; the
	// objects are of the storage version, old is nil for a new one. nil: no more rules.
	Validate func(new, old Object) field.ErrorList
}

// Subresource is a row of discovery below a kind.
type Subresource struct {
	Name  string                  // "log"
	GVK   schema.GroupVersionKind // what its body is, e.g. v1 Binding, policy/v1 Eviction; the parent's kind if empty
	Verbs []string                // "create", "get", …
	Part  *Part                   // set where it is a way to write a part of the object, as /status is
}

// Part is what may be written through a subresource, and how.
type Part struct {
	Prepare  func(next, old Object) // undoes what else the client changed
	Validate func(next, old Object) field.ErrorList
}

// Requester is who creates an object.
type Requester struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
}

// Scale maps a kind to autoscaling/v1's Scale and back.
type Scale struct {
	Get func(Object) *autoscalingv1.Scale // metadata is filled in by the API server
	Set func(obj Object, replicas int32)
}

// Column is one column of kubectl's table. Priority above 0 shows with -o wide.
type Column struct {
	metav1.TableColumnDefinition
	Cell func(Object) any
}

// Storage is the version that objects of the kind are stored as.
func (k *Kind) Storage() *Version { return &k.Versions[0] }

// Stored says whether there are objects of the kind. Otherwise it is a question, which
// is created and answered in one request: a review.
func (k *Kind) Stored() bool { return k.Storage().NewList != nil }

// GroupResource is the kind's name in errors and paths.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Storage().Group, Resource: k.Resource}
}

// Version finds the served version, or nil.
func (k *Kind) Version(gv schema.GroupVersion) *Version {
	for i := range k.Versions {
		if k.Versions[i].GroupVersion() == gv {
			return &k.Versions[i]
		}
	}
	return nil
}

// HasSubresource says whether the row lists a subresource.
func (k *Kind) HasSubresource(name string) bool {
	return slices.ContainsFunc(k.Subresources, func(s Subresource) bool { return s.Name == name })
}

// proxySubresource is that of Pods, Services and nodes: every method is passed on.
func proxySubresource(options string) Subresource {
	return Subresource{
		Name: "proxy", GVK: corev1.SchemeGroupVersion.WithKind(options),
		Verbs: []string{"create", "delete", "get", "patch", "update"},
	}
}

// SelectableFields is what field selectors may compare.
func (k *Kind) SelectableFields(obj Object) fields.Set {
	set := fields.Set{}
	if k.Fields != nil {
		set = k.Fields(obj)
	}
	set["metadata.name"] = obj.GetName()
	if k.Namespaced {
		set["metadata.namespace"] = obj.GetNamespace()
	}
	return set
}
