package api

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The life of an object between the wire and the store. The API server calls one
// method per verb; each first makes the object what it should be (Prepare…) and then
// says what is wrong with it (Check…). What must be allocated, a Service's addresses
// for example, is filled in between the two.
//
// Upstream counterpart: rest.BeforeCreate and rest.BeforeUpdate of k8s.io/apiserver
// with the strategies they call.

// BeforeCreate makes obj, as the client sent it, what may be stored: defaults, no
// status, generation 1, and everything valid. The API server has already set its
// namespace, name, uid and creationTimestamp.
func (k *Kind) BeforeCreate(obj Object) field.ErrorList {
	k.PrepareForCreate(obj)
	return k.CheckCreate(obj)
}

// PrepareForCreate is the first half of BeforeCreate.
func (k *Kind) PrepareForCreate(obj Object) {
	k.SetDefaults(obj)
	if k.Status != nil && !k.StatusOnCreate {
		reflect.ValueOf(k.Status(obj)).Elem().SetZero()
	}
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	obj.SetGeneration(0)
	if k.Spec != nil {
		obj.SetGeneration(1)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
}

// CheckCreate is the second half of BeforeCreate.
func (k *Kind) CheckCreate(obj Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessor(obj, k.Namespaced, k.nameRule(), field.NewPath("metadata"))
	errs = append(errs, k.checkFinalizers(obj)...)
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	return errs
}

// BeforeUpdate makes what the client sent the successor of old: it keeps what only
// the server may change, counts the generation and validates. old stays as it is.
func (k *Kind) BeforeUpdate(obj, old Object) field.ErrorList {
	k.PrepareForUpdate(obj, old)
	return k.CheckUpdate(obj, old)
}

// PrepareForUpdate is the first half of BeforeUpdate.
func (k *Kind) PrepareForUpdate(obj, old Object) {
	k.SetDefaults(obj)
	k.keepMetadata(obj, old)
	old = old.DeepCopyObject().(Object) // nothing below may tie the two together
	if k.Status != nil {
		assign(k.Status(obj), k.Status(old))
	}
	if k.Spec != nil && !equality.Semantic.DeepEqual(k.Spec(obj), k.Spec(old)) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
	if k.PrepareUpdate != nil {
		k.PrepareUpdate(obj, old)
	}
}

// CheckUpdate is the second half of BeforeUpdate. A kind without rules of its own for
// updates is validated like a new object.
func (k *Kind) CheckUpdate(obj, old Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	errs = append(errs, k.checkFinalizers(obj)...)
	if k.ValidateUpdate != nil {
		return append(errs, k.ValidateUpdate(obj, old)...)
	}
	if k.Validate != nil {
		return append(errs, k.Validate(obj)...)
	}
	return errs
}

// CheckWritten is what an update (old) or a creation (no old) through this version must
// pass beyond the kind's own rules.
func (v *Version) CheckWritten(obj, old Object) field.ErrorList {
	if v.Validate == nil {
		return nil
	}
	return v.Validate(obj, old)
}

// BeforeStatusUpdate is BeforeUpdate for the /status subresource: only the status
// and the metadata of what the client sent count.
func (k *Kind) BeforeStatusUpdate(obj, old Object) field.ErrorList {
	k.SetDefaults(obj)
	k.keepMetadata(obj, old)
	sent := obj.DeepCopyObject().(Object)
	assign(obj, old.DeepCopyObject())
	assign(metadata(obj), metadata(sent))
	if k.Status != nil {
		assign(k.Status(obj), k.Status(sent))
	}
	if k.PrepareStatus != nil {
		k.PrepareStatus(obj, old.DeepCopyObject().(Object))
	}
	errs := validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	errs = append(errs, k.checkFinalizers(obj)...)
	if k.ValidateStatus != nil {
		errs = append(errs, k.ValidateStatus(obj, old)...)
	}
	return errs
}

// BeforePartUpdate is BeforeUpdate for a subresource that writes a part of the object.
func (k *Kind) BeforePartUpdate(p *Part, obj, old Object) field.ErrorList {
	k.SetDefaults(obj)
	k.keepMetadata(obj, old)
	p.Prepare(obj, old.DeepCopyObject().(Object))
	errs := validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	return append(errs, p.Validate(obj, old)...)
}

// SetDefaults fills in what the client left out. It is idempotent.
func (k *Kind) SetDefaults(obj Object) {
	if k.Default != nil {
		k.Default(obj)
	}
}

// keepMetadata carries over what a client need not send or may not change.
func (k *Kind) keepMetadata(obj, old Object) {
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if obj.GetResourceVersion() == "" && !k.Conditional {
		obj.SetResourceVersion(old.GetResourceVersion()) // overwrite whatever is there
	}
	if created := obj.GetCreationTimestamp(); created.IsZero() {
		obj.SetCreationTimestamp(old.GetCreationTimestamp())
	}
	if deleted := old.GetDeletionTimestamp(); !deleted.IsZero() {
		obj.SetDeletionTimestamp(deleted)
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(grace)
	}
	obj.SetSelfLink("")
	obj.SetGeneration(old.GetGeneration())
}

func (k *Kind) nameRule() validation.ValidateNameFunc {
	if k.ValidateName != nil {
		return k.ValidateName
	}
	return path.ValidatePathSegmentName
}

// checkFinalizers requires a domain in the names of those who hold an object back, so that
// one knows whom to ask.
func (k *Kind) checkFinalizers(obj Object) field.ErrorList {
	if k.AnyFinalizer {
		return nil
	}
	var errs field.ErrorList
	for i, name := range obj.GetFinalizers() {
		errs = append(errs, qualifiedFinalizer(name, field.NewPath("metadata", "finalizers").Index(i))...)
	}
	return errs
}

func qualifiedFinalizer(name string, at *field.Path) field.ErrorList {
	switch {
	case strings.Contains(name, "/"):
	case name == string(corev1.FinalizerKubernetes), name == metav1.FinalizerOrphanDependents, name == metav1.FinalizerDeleteDependents:
	default:
		return field.ErrorList{field.Invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified")}
	}
	return nil
}

func metadata(obj Object) any { return obj.(metav1.ObjectMetaAccessor).GetObjectMeta() }

// assign does *to = *from for two pointers of the same type.
func assign(to, from any) {
	reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem())
}
