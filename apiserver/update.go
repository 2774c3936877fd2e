package apiserver

import (
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orrery.example.org/api"
)

// update replaces an object, or the part of it that the path shows, by the body. For
// some kinds it creates the object if there is none.
func (h *handlers) update(c *call) error {
	o, err := c.updateOptions()
	if err != nil {
		return err
	}
	body, err := c.decodeBody(c.body, o.fieldValidation)
	if err != nil {
		return err
	}
	if err := c.addressed(body); err != nil {
		return err
	}
	for {
		v, err := h.modify(c, o.dryRun, func(old api.Object) (api.Object, error) {
			copied := body.DeepCopyObject().(api.Object) // it will be changed, and maybe again
			return h.own(c, copied, old, o.manager)
		})
		switch {
		case err == nil:
			return c.respond(http.StatusOK, v)
		case !apierrors.IsNotFound(err) || !c.kind.CreateOnUpdate || c.subresource != "":
			return err
		}
		err = h.createInstead(c, body.DeepCopyObject().(api.Object), o)
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		// Somebody else created it just now: update that.
	}
}

// createInstead makes the object that an update didn't find.
func (h *handlers) createInstead(c *call, body api.Object, o writeOptions) error {
	if uid := body.GetUID(); uid != "" { // it speaks of one that was there and is gone
		return apierrors.NewConflict(c.kind.GroupResource(), c.name,
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: ", uid))
	}
	obj, err := h.own(c, body, c.kind.Storage().New(), o.manager)
	if err != nil {
		return err
	}
	return h.createAt(c, obj, o)
}

// createAt makes an object by a verb that usually changes one; the user must be allowed
// to create, too.
func (h *handlers) createAt(c *call, obj api.Object, o writeOptions) error {
	if err := h.authorizeAlso(c, "create"); err != nil {
		return err
	}
	obj.SetResourceVersion("")
	return h.createObject(c, obj, o)
}

// addressed checks that the body's name and namespace are those of the path.
func (c *call) addressed(body api.Object) error {
	if name := body.GetName(); name != c.name {
		if name == "" {
			return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", c.name))
		}
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, c.name))
	}
	switch ns := body.GetNamespace(); {
	case ns == "":
		body.SetNamespace(c.namespace)
	case ns != c.namespace && c.kind.Namespaced:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}
