package apiserver

import (
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"orrery.example.org/api"
)

// apply makes the object have the fields that the client names, and creates it if there
// is none. The server remembers for every field who set it (owners/), which is what lets
// several clients share an object: a field that a client stops naming goes, one that
// another client has set differently is a conflict (409, with a cause for each field)
// unless this one forces it, and everything else stays as it is.
//
// Its life: the patch is merged into what is stored, in the schema of its kind, and the
// result goes on like the body of any update: merge, check, allocate, write. Owners are
// noted per view, so that the status a controller applies is not taken from it by those
// who apply the object.
func (h *handlers) apply(c *call, kind types.PatchType, body []byte, o writeOptions) error {
	patch, err := c.decodePatch(kind, body, o.fieldValidation)
	if err != nil {
		return err
	}
	for {
		v, err := h.modify(c, o.dryRun, func(old api.Object) (api.Object, error) {
			return h.applied(c, c.live(old), patch, o)
		})
		switch {
		case err == nil:
			return c.respond(http.StatusOK, v)
		case !apierrors.IsNotFound(err) || c.subresource != "":
			return err
		}
		obj, err := h.applied(c, c.kind.Storage().New(), patch, o)
		if err != nil {
			return err
		}
		if uid := obj.GetUID(); uid != "" {
			return apierrors.NewConflict(c.kind.GroupResource(), c.name,
				fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
		}
		if err := h.createAt(c, obj, o); !apierrors.IsAlreadyExists(err) {
			return err
		}
		// Somebody else created it just now: apply to that.
	}
}

// applied is live with the patch merged into it.
func (h *handlers) applied(c *call, live api.Object, patch *unstructured.Unstructured, o writeOptions) (api.Object, error) {
	next, err := h.owners.Apply(c.ctx(), c.fields, live, patch.DeepCopy(), o.manager, o.force)
	switch {
	case c.ctx().Err() != nil:
		return nil, c.ctx().Err()
	case err != nil:
		return nil, unapplicable(err)
	}
	return next, c.addressed(next)
}

// unapplicable is why a patch can't be merged: a field the kind doesn't have, mostly.
// Upstream calls that an error of the server's, of no known reason.
func unapplicable(err error) error {
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		return err
	}
	return failure(http.StatusInternalServerError, metav1.StatusReasonUnknown, "%s", err)
}

// decodePatch reads an apply patch. It isn't decoded into the kind's type: what it
// leaves out and what it sets to zero are two things.
func (c *call) decodePatch(kind types.PatchType, body []byte, validation string) (*unstructured.Unstructured, error) {
	patch := &unstructured.Unstructured{Object: map[string]any{}}
	if kind == types.ApplyCBORPatchType { // where a map can't have a key twice
		if err := direct.Unmarshal(body, &patch.Object); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding CBOR: %v", err))
		}
		return patch, nil
	}
	if err := yaml.Unmarshal(body, &patch.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if err := yaml.UnmarshalStrict(body, &map[string]any{}); err != nil {
		switch validation {
		case metav1.FieldValidationStrict:
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", err))
		case metav1.FieldValidationWarn, "":
			c.warn(err.Error())
		}
	}
	return patch, nil
}
