package owners

import (
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// trusting is a TypeConverter that doesn't check whether an object which is of its Go
// type already has the fields of its schema: the schema was made from the type. What
// can be wrong with it (an item of a list that lacks its key) the comparison finds, too.
// Checking would take longer than all that follows.
type trusting struct {
	managedfields.TypeConverter
	kinds sync.Map // GroupVersionKind -> *typed.TypedValue, of which the type is of use
}

// ObjectToTyped implements managedfields.TypeConverter.
func (t *trusting) ObjectToTyped(o runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if _, ok := o.(*unstructured.Unstructured); ok {
		return t.TypeConverter.ObjectToTyped(o, options...)
	}
	gvk := o.GetObjectKind().GroupVersionKind()
	known, ok := t.kinds.Load(gvk)
	if !ok {
		checked, err := t.TypeConverter.ObjectToTyped(o, options...)
		if err == nil {
			t.kinds.Store(gvk, checked.Empty())
		}
		return checked, err
	}
	v, err := value.NewValueReflect(o)
	if err != nil {
		return nil, err
	}
	like := known.(*typed.TypedValue)
	return typed.AsTypedUnvalidated(v, like.Schema(), like.TypeRef()), nil
}
