package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"orrery.example.org/api"
)

// patchTypes are the kinds of patches understood. An apply patch (apply.go) is of
// another nature than the others: not a change but what the client wants there to be.
//
// Kubernetes: apply patches in CBOR as well.
var patchTypes = []types.PatchType{
	types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType,
}

// patch changes an object as the body says. The patch is applied to the newest state,
// again and again if others write meanwhile: a client that doesn't care about
// conflicts never sees one, and one that does puts the resourceVersion into its patch.
func (h *handlers) patch(c *call) error {
	kind, err := patchType(c.r)
	if err != nil {
		return err
	}
	o, err := c.patchOptions(kind)
	if err != nil {
		return err
	}
	p, err := readBody(c.r)
	if err != nil {
		return err
	}
	if kind == types.ApplyYAMLPatchType {
		return h.apply(c, p, o)
	}
	v, err := h.modify(c, o.dryRun, func(old api.Object) (api.Object, error) {
		before, err := object(patchable(c.show(old), kind), c.body.GroupVersionKind, jsonMedia)
		if err != nil {
			return nil, err
		}
		after, err := applyPatch(kind, before, p, c.body.New())
		if err != nil {
			return nil, err
		}
		body, err := c.decode(after, jsonMedia, c.body, o.fieldValidation)
		if err != nil {
			return nil, err
		}
		if err := c.addressed(body); err != nil {
			return nil, err
		}
		return h.own(c, body, old, o.manager)
	})
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, v)
}

// patchable is the object as a patch sees it. A merge can only replace the list of owners
// as a whole, or leave it to us: in neither case need it be written down and read again,
// which takes longer than all the rest of the object.
func patchable(o api.Object, kind types.PatchType) api.Object {
	if kind == types.JSONPatchType || len(o.GetManagedFields()) == 0 {
		return o
	}
	o = shallow(o)
	o.SetManagedFields(nil)
	return o
}

// patchType reads the Content-Type.
func patchType(r *http.Request) (types.PatchType, error) {
	name, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var known []string
	for _, t := range patchTypes {
		if name == string(t) {
			return t, nil
		}
		known = append(known, string(t))
	}
	return "", errUnsupportedMedia(strings.Join(known, ", "))
}

// applyPatch changes the JSON of an object. like tells the strategic merge what the
// lists' merge keys are.
func applyPatch(kind types.PatchType, before, patch []byte, like api.Object) ([]byte, error) {
	switch kind {
	case types.JSONPatchType:
		return applyJSONPatch(before, patch)
	case types.MergePatchType:
		if err := isObject(patch); err != nil {
			return nil, err
		}
		after, err := jsonpatch.MergePatch(before, patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		return after, nil
	}
	if err := isObject(patch); err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, like)
	switch {
	case err == nil:
		return after, nil
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return nil, unprocessable(err)
}

// maxPatchOperations bounds what a JSON patch may cost, as upstream.
const maxPatchOperations = 10000

func applyJSONPatch(before, patch []byte) ([]byte, error) {
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if n := len(operations); n > maxPatchOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, n))
	}
	after, err := applyOperations(operations, before)
	if err != nil {
		return nil, unprocessable(err)
	}
	return after, nil
}

// applyOperations survives the library, which panics over some operations on the whole
// document.
//
// Kubernetes: a 500 then.
func applyOperations(operations jsonpatch.Patch, before []byte) (after []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this patch can not be applied: %v", p)
		}
	}()
	return operations.Apply(before)
}

func isObject(patch []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(patch, &m); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	return nil
}

// unprocessable is a patch that is well formed but doesn't fit the object. The message is
// upstream's and says nothing; the cause says why.
func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, true)
}
