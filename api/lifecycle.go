package api

import (
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// BeforeCreate makes obj, as the client sent it, what may be stored: defaults, no
// status, generation 1, and everything valid. Its name, uid and creationTimestamp
// are already set by the API server.
func (k *Kind) BeforeCreate(obj Object) field.ErrorList {
	k.PrepareForCreate(obj)
	return k.CheckCreate(obj)
}

// PrepareForCreate is the first half of BeforeCreate. Between the halves the API
// server fills in what has to be allocated.
func (k *Kind) PrepareForCreate(obj Object) {
	k.setDefaults(obj)
	k.resetStatus(obj)
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
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	return errs
}

// BeforeUpdate makes what the client sent the successor of old: it keeps what only
// the server may change, counts the generation and validates.
func (k *Kind) BeforeUpdate(obj, old Object) field.ErrorList {
	k.PrepareForUpdate(obj, old)
	return k.CheckUpdate(obj, old)
}

// PrepareForUpdate is the first half of BeforeUpdate.
func (k *Kind) PrepareForUpdate(obj, old Object) {
	k.setDefaults(obj)
	keepMetadata(obj, old)
	k.keepStatus(obj, old)
	if k.PrepareUpdate != nil {
		k.PrepareUpdate(obj, old)
	}
	obj.SetGeneration(old.GetGeneration())
	if k.Spec != nil && !equality.Semantic.DeepEqual(k.Spec(obj), k.Spec(old)) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// CheckUpdate is the second half of BeforeUpdate.
func (k *Kind) CheckUpdate(obj, old Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	if k.ValidateUpdate != nil {
		errs = append(errs, k.ValidateUpdate(obj, old)...)
	}
	return errs
}

// BeforeStatusUpdate is BeforeUpdate for the /status subresource: only the status
// and some metadata of what the client sent count.
func (k *Kind) BeforeStatusUpdate(obj, old Object) field.ErrorList {
	k.setDefaults(obj)
	keepMetadata(obj, old)
	if k.Spec != nil {
		assign(k.Spec(obj), k.Spec(old))
	}
	obj.SetGeneration(old.GetGeneration())
	errs := validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	if k.ValidateStatus != nil {
		errs = append(errs, k.ValidateStatus(obj, old)...)
	}
	return errs
}

func (k *Kind) setDefaults(obj Object) {
	if k.Default != nil {
		k.Default(obj)
	}
}

func (k *Kind) nameRule() validation.ValidateNameFunc {
	if k.ValidateName != nil {
		return k.ValidateName
	}
	return path.ValidatePathSegmentName
}

func (k *Kind) resetStatus(obj Object) {
	if k.Status != nil {
		reflect.ValueOf(k.Status(obj)).Elem().SetZero()
	}
}

func (k *Kind) keepStatus(obj, old Object) {
	if k.Status != nil {
		assign(k.Status(obj), k.Status(old))
	}
}

// keepMetadata carries over what a client need not send or may not change.
func keepMetadata(obj, old Object) {
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if created := obj.GetCreationTimestamp(); created.IsZero() {
		obj.SetCreationTimestamp(old.GetCreationTimestamp())
	}
	if !old.GetDeletionTimestamp().IsZero() {
		obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
		obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
}

// assign does *to = *from for two pointers of the same type.
func assign(to, from any) {
	reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem())
}
