package apiserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/admission"
	"orrery.example.org/apiserver/alloc"
	"orrery.example.org/apiserver/store"
)

// create makes the object in the body.
func (h *handlers) create(c *call) error {
	o, err := c.createOptions()
	if err != nil {
		return err
	}
	body, err := c.decodeBody(c.body, o.fieldValidation)
	if err != nil {
		return err
	}
	if err := adopt(body, c.namespace); err != nil {
		return err
	}
	obj, err := h.own(c, body, c.kind.Storage().New(), o.manager)
	if err != nil {
		return err
	}
	return h.createObject(c, obj, o)
}

// createObject stores a new object, whose fields have their owners, for a client.
func (h *handlers) createObject(c *call, obj api.Object, o writeOptions) error {
	a := h.admission(c, admission.Create, obj, nil, o.dryRun)
	a.Name = obj.GetName()
	if err := admission.Admit(c.ctx(), a); err != nil {
		return err
	}
	if err := h.confirm(c, obj, nil); err != nil {
		return err
	}
	if note := c.kind.Requester; note != nil {
		note(obj, api.Requester{Name: c.user.Name, UID: c.user.UID, Groups: c.user.Groups, Extra: c.user.Extra})
	}
	v, err := h.add(c.ctx(), c.resource, obj, o.dryRun, func(next api.Object) error {
		c.warnings(next, nil)
		seen := *a
		seen.Name, seen.Object = next.GetName(), next
		return admission.Validate(c.ctx(), &seen)
	})
	if err != nil {
		return err
	}
	return c.respond(http.StatusCreated, v)
}

// adopt makes the object one of the namespace it was sent to.
func adopt(o api.Object, namespace string) error {
	switch {
	case o.GetNamespace() == "":
		o.SetNamespace(namespace)
	case namespace != "" && o.GetNamespace() != namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if o.GetResourceVersion() != "" {
		return errors.New("resourceVersion should not be set on objects to be created") // upstream takes the blame: a 500
	}
	return nil
}

// maxNames is how many names are tried for one generateName, as upstream.
const maxNames = 8

// add stores a new object. It is also how the server makes its own (bootstrap.go).
// approve is asked about the object once it is complete.
func (h *handlers) add(ctx context.Context, res *resource, obj api.Object, dryRun bool, approve func(api.Object) error) (*store.Version, error) {
	generated := obj.GetName() == "" && obj.GetGenerateName() != ""
	for tries := 1; ; tries++ {
		if generated {
			obj.SetName(generateName(obj.GetGenerateName()))
		}
		v, err := h.addOnce(ctx, res, obj, dryRun, approve)
		if generated && apierrors.IsAlreadyExists(err) {
			if tries < maxNames {
				continue
			}
			return nil, apierrors.NewGenerateNameConflict(res.kind.GroupResource(), obj.GetName(), 1)
		}
		return v, err
	}
}

func (h *handlers) addOnce(ctx context.Context, res *resource, obj api.Object, dryRun bool, approve func(api.Object) error) (*store.Version, error) {
	begin(obj)
	res.kind.PrepareForCreate(obj)
	v := h.objectView(res)
	v.check = func(next, _ api.Object) field.ErrorList {
		return append(res.kind.CheckCreate(next), res.version.CheckWritten(next, nil)...)
	}
	v.approve = func(next, _ api.Object) error { return approve(next) }
	if obj.GetName() == "" { // there is no key to write to; let validation say what is missing
		_, err := h.admit(res, obj, nil, nil, v)
		return nil, errors.Join(err)
	}
	return h.commit(ctx, res, obj.GetNamespace(), obj.GetName(), dryRun, func(current *store.Version, taken alloc.Taken) (store.Write, error) {
		if current != nil {
			return store.Write{}, apierrors.NewAlreadyExists(res.kind.GroupResource(), obj.GetName())
		}
		// Allocation fills in fields, and may have to do it again with other values.
		return h.admit(res, obj.DeepCopyObject().(api.Object), nil, taken, v)
	})
}

// begin sets what only the server may set.
func begin(o api.Object) {
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetSelfLink("")
}

// generateName appends five random characters, shortening the base where the name
// would be too long for a label.
func generateName(base string) string {
	const suffix, most = 5, 63
	return base[:min(len(base), most-suffix)] + rand.String(suffix)
}

// warnings tells the client what its object does but shouldn't.
func (c *call) warnings(next, old api.Object) {
	var texts []string
	switch {
	case c.subresource == "" && c.kind.Warnings != nil:
		texts = c.kind.Warnings(next, old)
	case c.subresource == "status" && c.kind.StatusWarnings != nil:
		texts = c.kind.StatusWarnings(next)
	}
	for _, text := range texts {
		c.warn(text)
	}
}
