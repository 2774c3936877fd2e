package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/admission"
	"orrery.example.org/apiserver/alloc"
	"orrery.example.org/apiserver/owners"
	"orrery.example.org/apiserver/store"
)

// The life of a write. Every change of an object, whatever verb it came by, is one
// compare-and-swap (commit): read what is there, let the verb make its successor and
// note who owns which of its fields, let admission add to it, fill in what has to be
// allocated, check it, ask admission again, and write it together with the names it
// claims. If somebody else wrote in between, all of
// that happens again on the newer state; a client that named the resourceVersion it had
// seen gets a 409 instead.

// change makes the successor of what is stored. It may run several times.
type change func(old api.Object) (api.Object, error)

// modify changes an existing object through the call's view.
func (h *handlers) modify(c *call, dryRun bool, f change) (*store.Version, error) {
	v := c.view
	v.approve = func(next, old api.Object) error {
		c.warnings(next, old)
		return admission.Validate(c.ctx(), h.admission(c, admission.Update, next, old, dryRun))
	}
	return h.succeed(c.ctx(), c.resource, v, c.namespace, c.name, dryRun, func(old api.Object) (api.Object, error) {
		next, err := f(old)
		if err != nil {
			return nil, err
		}
		if err := admission.Admit(c.ctx(), h.admission(c, admission.Update, next, old, dryRun)); err != nil {
			return nil, err
		}
		return next, h.confirm(c, next, old)
	})
}

// admission is a call as admission plugins see it.
func (h *handlers) admission(c *call, op admission.Operation, next, old api.Object, dryRun bool) *admission.Attributes {
	return &admission.Attributes{
		Operation: op, Kind: c.kind, Subresource: c.subresource, Namespace: c.namespace, Name: c.name,
		Object: next, Old: old, User: c.user, DryRun: dryRun, Cluster: h, Authorizer: h.authz, Warn: c.warn, Off: h.pluginsOff,
	}
}

// succeed writes the successor that f makes of an existing object.
func (h *handlers) succeed(ctx context.Context, res *resource, v view, namespace, name string, dryRun bool, f change) (*store.Version, error) {
	var last api.Object // the object as this change ends it
	written, err := h.commit(ctx, res, namespace, name, dryRun, func(current *store.Version, taken alloc.Taken) (store.Write, error) {
		if current == nil {
			return store.Write{}, apierrors.NewNotFound(res.kind.GroupResource(), name)
		}
		old := current.Object
		body, err := f(old)
		if err != nil {
			return store.Write{}, err
		}
		if err := sameObject(res, body, old); err != nil {
			return store.Write{}, err
		}
		next := v.merge(body, old)
		next.SetResourceVersion(old.GetResourceVersion())
		if last = nil; finished(next) {
			last = next
		}
		return h.admit(res, next, old, taken, v)
	})
	if err == nil && last != nil {
		return showing(last), nil
	}
	return written, err
}

// admit allocates and validates, and says what to write.
func (h *handlers) admit(res *resource, next, old api.Object, taken alloc.Taken, v view) (store.Write, error) {
	w := store.Write{Object: next, TTL: res.kind.TTL}
	if v.grant != nil { // first: what is allocated is checked as well
		g, err := v.grant(next, old, taken)
		if err != nil {
			return w, err
		}
		w.Claim, w.Release = g.Claim, g.Release
		w.Beside = mirror(next, g)
	}
	if errs := v.check(next, old); len(errs) > 0 {
		gk := res.kind.Storage().GroupKind()
		if v.body != nil && v.body.Kind != gk.Kind { // what the client sent was a Scale
			gk = v.body.GroupKind()
		}
		return w, apierrors.NewInvalid(gk, next.GetName(), once(errs))
	}
	if v.approve != nil {
		if err := v.approve(next, old); err != nil {
			return w, err
		}
	}
	if old != nil {
		if finished(next) {
			return remove(old), nil
		}
		owners.KeepTimes(next, old)
	}
	return w, nil
}

// attempt says what to write, given what is there and which names are known to be
// taken.
type attempt func(current *store.Version, taken alloc.Taken) (store.Write, error)

// commit writes. Where a claimed name turns out to be taken it tries again with that
// knowledge: another value is chosen, or the client is told that his is not free.
func (h *handlers) commit(ctx context.Context, res *resource, namespace, name string, dryRun bool, f attempt) (*store.Version, error) {
	if dryRun {
		return h.rehearse(ctx, res, namespace, name, f)
	}
	taken := alloc.Taken{}
	for {
		v, err := res.objects.Write(ctx, namespace, name, func(current *store.Version) (store.Write, error) {
			return f(current, taken)
		})
		var claimed *store.ErrClaimed
		if !errors.As(err, &claimed) {
			return v, err
		}
		if len(taken) == 0 { // guessing failed once: from now on know
			if taken, err = h.takenNames(ctx); err != nil {
				return nil, err
			}
		}
		taken[claimed.Name] = true
	}
}

// rehearse does all but the write: ?dryRun=All.
func (h *handlers) rehearse(ctx context.Context, res *resource, namespace, name string, f attempt) (*store.Version, error) {
	taken, err := h.takenNames(ctx)
	if err != nil {
		return nil, err
	}
	current, err := res.objects.Get(ctx, namespace, name, false)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	w, err := f(current, taken)
	if err != nil {
		return nil, err
	}
	if w.Object == nil {
		return current, nil
	}
	return showing(w.Object), nil
}

// sameObject refuses a body that speaks of another object or another version of it.
func sameObject(res *resource, body, old api.Object) error {
	gr := res.kind.GroupResource()
	if uid := body.GetUID(); uid != "" && uid != old.GetUID() {
		return apierrors.NewConflict(gr, old.GetName(),
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, old.GetUID()))
	}
	switch rv := body.GetResourceVersion(); {
	case rv == "" && res.kind.Conditional:
		return apierrors.NewInvalid(schema.GroupKind{Group: gr.Group, Kind: gr.Resource}, old.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
	case rv != "" && rv != old.GetResourceVersion():
		return apierrors.NewConflict(gr, old.GetName(), errors.New(modified))
	}
	return nil
}

// modified is the message of a 409. Whoever gets it reads the object again, makes his
// change again and writes again: that is how clients share an object without locks.
const modified = "the object has been modified; please apply your changes to the latest version and try again"

// once leaves out what was said before: some rules hold for two reasons.
func once(errs field.ErrorList) field.ErrorList {
	said := sets.New[string]()
	return slices.DeleteFunc(errs, func(e *field.Error) bool {
		text := e.Error()
		defer said.Insert(text)
		return said.Has(text)
	})
}
