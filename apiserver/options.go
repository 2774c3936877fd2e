package apiserver

import (
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	listvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/owners"
)

// writeOptions are what create, update and patch take from the query.
type writeOptions struct {
	dryRun          bool
	fieldValidation string
	manager         string // whose the fields are that it writes
	force           bool   // apply: take what others own
}

func checked(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
}

func (c *call) writeOptions(dryRun []string, fieldValidation, manager string) writeOptions {
	return writeOptions{
		dryRun: len(dryRun) > 0, fieldValidation: fieldValidation, manager: owners.Name(manager, c.r.UserAgent()),
	}
}

func (c *call) createOptions() (writeOptions, error) {
	var o metav1.CreateOptions
	q := c.r.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_CreateOptions(&q, &o, nil); err != nil {
		return writeOptions{}, apierrors.NewBadRequest(err.Error())
	}
	return c.writeOptions(o.DryRun, o.FieldValidation, o.FieldManager), checked("CreateOptions", validation.ValidateCreateOptions(&o))
}

func (c *call) updateOptions() (writeOptions, error) {
	var o metav1.UpdateOptions
	q := c.r.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_UpdateOptions(&q, &o, nil); err != nil {
		return writeOptions{}, apierrors.NewBadRequest(err.Error())
	}
	return c.writeOptions(o.DryRun, o.FieldValidation, o.FieldManager), checked("UpdateOptions", validation.ValidateUpdateOptions(&o))
}

func (c *call) patchOptions(t types.PatchType) (writeOptions, error) {
	var o metav1.PatchOptions
	q := c.r.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_PatchOptions(&q, &o, nil); err != nil {
		return writeOptions{}, apierrors.NewBadRequest(err.Error())
	}
	w := c.writeOptions(o.DryRun, o.FieldValidation, o.FieldManager)
	w.force = o.Force != nil && *o.Force
	return w, checked("PatchOptions", validation.ValidatePatchOptions(&o, t))
}

// listOptions are what list, watch and deletecollection take from the query.
type listOptions struct {
	metav1.ListOptions
	revision int64 // resourceVersion; 0 if none or "0"
	match    *matcher
}

func (c *call) listOptions(watch bool) (listOptions, error) {
	var o listOptions
	q := c.r.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_ListOptions(&q, &o.ListOptions, nil); err != nil {
		return o, apierrors.NewBadRequest(err.Error())
	}
	if watch && o.SendInitialEvents == nil && o.ResourceVersionMatch == "" && (o.ResourceVersion == "" || o.ResourceVersion == "0") {
		// The old way to ask for the present state first.
		o.SendInitialEvents, o.ResourceVersionMatch = new(true), metav1.ResourceVersionMatchNotOlderThan
	}
	errs := listvalidation.ValidateListOptions(&internalversion.ListOptions{
		Watch: watch, ResourceVersion: o.ResourceVersion, ResourceVersionMatch: o.ResourceVersionMatch,
		Continue: o.Continue, SendInitialEvents: o.SendInitialEvents,
	}, true)
	if err := checked("ListOptions", errs); err != nil {
		return o, err
	}
	var err error
	if o.revision, err = parseRevision(o.ResourceVersion); err != nil {
		if !watch {
			err = apierrors.NewBadRequest("invalid resource version: " + err.Error())
		}
		return o, err
	}
	if o.match, err = newMatcher(c.resource, o.LabelSelector, o.FieldSelector); err != nil || c.name == "" {
		return o, err
	}
	return o, o.match.narrow(c.name)
}

// parseRevision reads a resourceVersion; none is 0.
//
// Kubernetes: a list with a bad one is a bad request, a get or a watch an internal error.
func parseRevision(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, field.Invalid(field.NewPath("resourceVersion"), s, err.Error())
	}
	return int64(n), nil
}

// matcher selects objects. A nil selector selects everything.
type matcher struct {
	kind   *api.Kind
	labels labels.Selector
	fields fields.Selector
}

func newMatcher(res *resource, labelSelector, fieldSelector string) (*matcher, error) {
	m := &matcher{kind: res.kind}
	var err error
	if labelSelector != "" {
		if m.labels, err = labels.Parse(labelSelector); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if fieldSelector != "" {
		if m.fields, err = fields.ParseSelector(fieldSelector); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		known := res.kind.SelectableFields(res.kind.Storage().New())
		for _, r := range m.fields.Requirements() {
			if !known.Has(r.Field) {
				return nil, unsupportedField(res.kind, r.Field)
			}
		}
	}
	return m, nil
}

// unsupportedField words it as upstream does for kinds with and without own fields.
func unsupportedField(k *api.Kind, name string) error {
	if k.Fields != nil {
		return apierrors.NewBadRequest("field label not supported: " + name)
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", name))
}

// all says whether everything matches.
func (m *matcher) all() bool { return m.labels == nil && m.fields == nil }

// matches says whether the object is selected.
func (m *matcher) matches(o api.Object) bool {
	if m.labels != nil && !m.labels.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	return m.fields == nil || m.fields.Matches(m.kind.SelectableFields(o))
}

// filter is the matcher as a function, nil if everything matches.
func (m *matcher) filter() func(api.Object) bool {
	if m.all() {
		return nil
	}
	return m.matches
}

// narrow selects the one object that a path names.
func (m *matcher) narrow(name string) error {
	one := fields.OneTermEqualSelector("metadata.name", name)
	if m.fields == nil {
		m.fields = one
	} else if m.name() != name {
		return apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
	}
	return nil
}

// name is the only name that can match, "" if several may.
func (m *matcher) name() string {
	if m.fields != nil {
		if name, ok := m.fields.RequiresExactMatch("metadata.name"); ok {
			return name
		}
	}
	return ""
}
