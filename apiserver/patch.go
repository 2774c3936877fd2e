package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"orrery.example.org/api"
)

// patchTypes are the kinds of patches understood. An apply patch (apply.go) is of
// another nature than the others: not a change but what the client wants there to be.
var patchTypes = []types.PatchType{
	types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType,
	types.ApplyYAMLPatchType, types.ApplyCBORPatchType,
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
	if kind == types.ApplyYAMLPatchType || kind == types.ApplyCBORPatchType {
		return h.apply(c, kind, p, o)
	}
	strict, err := checkPatch(kind, p, o.fieldValidation)
	if err != nil {
		return err
	}
	v, err := h.modify(c, o.dryRun, func(old api.Object) (api.Object, error) {
		body, err := c.patched(kind, patchable(c.show(old), kind), p, strict, o.fieldValidation)
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
	name, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if t := types.PatchType(strings.TrimSpace(name)); slices.Contains(patchTypes, t) {
		return t, nil
	}
	return "", errNoPatchType()
}

// operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

// checkPatch says what is wrong with a patch by itself. What is only suspicious, such as
// a field that is there twice, comes back as strict errors.
func checkPatch(kind types.PatchType, patch []byte, validation string) (strict []error, err error) {
	if !json.Valid(patch) {
		return nil, apierrors.NewBadRequest("invalid JSON patch")
	}
	var operations []operation
	var fields map[string]any
	into := any(&fields)
	if kind == types.JSONPatchType {
		into = &operations
	}
	if validation == metav1.FieldValidationIgnore {
		err = json.Unmarshal(patch, into)
	} else {
		strict, err = kjson.UnmarshalStrict(patch, into)
	}
	switch {
	case err != nil && kind == types.StrategicMergePatchType:
		return nil, apierrors.NewBadRequest(err.Error())
	case err != nil:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if n := len(operations); n > maxPatchOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, n))
	}
	if kind == types.JSONPatchType {
		for i, e := range strict {
			strict[i] = fmt.Errorf("json patch %w", e)
		}
	}
	return strict, nil
}

// maxPatchOperations bounds what a JSON patch may cost, as upstream.
const maxPatchOperations = 10000

// patched is old with the patch applied. Fields it shouldn't have are an error, a warning
// or nothing, as for other bodies; but here an error shows what came of the patch, for
// there is no body that the client could look at.
func (c *call) patched(kind types.PatchType, old api.Object, patch []byte, strict []error, validation string) (api.Object, error) {
	var body api.Object
	var shown string
	var err error
	if kind == types.StrategicMergePatchType {
		body, shown, err = c.merged(old, patch, validation)
	} else {
		body, shown, err = c.edited(kind, old, patch, validation)
	}
	if found, ok := runtime.AsStrictDecodingError(err); ok && body != nil {
		strict, err = append(slices.Clone(strict), found.Errors()...), nil
	}
	if err == nil && len(strict) > 0 {
		if validation == metav1.FieldValidationStrict {
			err = runtime.NewStrictDecodingError(strict)
		} else {
			for _, e := range strict {
				c.warn(e.Error())
			}
		}
	}
	var known apierrors.APIStatus
	switch {
	case err == nil || errors.As(err, &known):
		return body, err
	case shown == "":
		return nil, err
	}
	return nil, apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), shown, err.Error())})
}

// edited applies a JSON or a merge patch, which know nothing of kinds.
func (c *call) edited(kind types.PatchType, old api.Object, patch []byte, validation string) (o api.Object, shown string, err error) {
	before, err := object(old, c.body.GroupVersionKind, jsonMedia)
	if err != nil {
		return nil, "", err
	}
	after, err := editJSON(kind, before, patch)
	if err != nil {
		return nil, "", err
	}
	decoded, _, err := decoder(jsonMedia, c.body, validation != metav1.FieldValidationIgnore).Decode(after, &c.body.GroupVersionKind, nil)
	o, _ = decoded.(api.Object)
	return o, string(after), err
}

func editJSON(kind types.PatchType, before, patch []byte) ([]byte, error) {
	if kind == types.MergePatchType {
		after, err := jsonpatch.MergePatch(before, patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return after, nil
	}
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
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

// merged applies a strategic merge patch, which merges lists by the keys that the kind's
// Go type names.
func (c *call) merged(old api.Object, patch []byte, validation string) (o api.Object, shown string, err error) {
	var changes map[string]any
	if err := utiljson.Unmarshal(patch, &changes); err != nil { // whole numbers stay whole
		return nil, "", apierrors.NewBadRequest(err.Error())
	}
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return nil, "", err
	}
	shown = fmt.Sprintf("%+v", changes)
	body := c.body.New()
	after, err := strategicpatch.StrategicMergeMapPatch(before, changes, body)
	if err != nil {
		return nil, "", unmergeable(err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(after, body, validation != metav1.FieldValidationIgnore)
	return body, shown, err
}

func unmergeable(err error) error {
	switch {
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return apierrors.NewBadRequest(err.Error())
	}
	return unprocessable(err)
}

// unprocessable is a patch that is well formed but doesn't fit the object.
func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}
