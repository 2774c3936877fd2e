package owners

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// converter is what apimachinery asks about one kind, in place of a runtime.Scheme:
// new objects, and objects of one version as objects of another.
type converter struct {
	versions []api.Version // the stored one first
	goTypes  []reflect.Type
}

func newConverter(v View) *converter {
	c := &converter{versions: []api.Version{*v.Version}} // a Scale
	if v.Kind.Version(v.Version.GroupVersion()) == v.Version {
		c.versions = v.Kind.Versions
	}
	for _, version := range c.versions {
		c.goTypes = append(c.goTypes, reflect.TypeOf(version.New()))
	}
	return c
}

// New implements runtime.ObjectCreater.
func (c *converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	v, err := c.version(gvk)
	if err != nil {
		return nil, err
	}
	o := v.New()
	o.GetObjectKind().SetGroupVersionKind(gvk)
	return o, nil
}

func (c *converter) version(gvk schema.GroupVersionKind) (*api.Version, error) {
	for i := range c.versions {
		if c.versions[i].GroupVersionKind == gvk {
			return &c.versions[i], nil
		}
	}
	return nil, runtime.NewNotRegisteredErrForKind("owners", gvk)
}

// Default implements runtime.ObjectDefaulter. Every verb sets the defaults anyway.
func (c *converter) Default(runtime.Object) {}

// ConvertToVersion implements runtime.ObjectConvertor. The result says what it is, and
// may share its parts with in.
func (c *converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	kinds := make([]schema.GroupVersionKind, len(c.versions))
	for i, v := range c.versions {
		kinds[i] = v.GroupVersionKind
	}
	gvk, ok := target.KindForGroupVersionKinds(kinds)
	if !ok {
		return nil, runtime.NewNotRegisteredErrForTarget("owners", reflect.TypeOf(in), target)
	}
	to, err := c.version(gvk)
	if err != nil {
		return nil, err
	}
	o, from, err := c.goObject(in)
	if err != nil {
		return nil, err
	}
	if from != to {
		if from.ToStorage != nil {
			o = from.ToStorage(o)
		}
		if to.FromStorage != nil {
			o = to.FromStorage(o)
		}
	}
	return says(o, gvk), nil
}

// goObject is the object as its Go type.
func (c *converter) goObject(in runtime.Object) (api.Object, *api.Version, error) {
	if u, ok := in.(*unstructured.Unstructured); ok {
		v, err := c.version(u.GroupVersionKind())
		if err != nil {
			return nil, nil, err
		}
		o := v.New()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
			return nil, nil, fmt.Errorf("read as %s: %w", v.GroupVersionKind, err)
		}
		return o, v, nil
	}
	for i, t := range c.goTypes {
		if reflect.TypeOf(in) == t {
			return in.(api.Object), &c.versions[i], nil
		}
	}
	return nil, nil, runtime.NewNotRegisteredErrForType("owners", reflect.TypeOf(in))
}

// says is the object with its type written on it; stored objects don't carry it, and
// are shared, so it is a shallow copy then.
func says(o api.Object, gvk schema.GroupVersionKind) api.Object {
	if o.GetObjectKind().GroupVersionKind() == gvk {
		return o
	}
	copied := reflect.New(reflect.TypeOf(o).Elem())
	copied.Elem().Set(reflect.ValueOf(o).Elem())
	out := copied.Interface().(api.Object)
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out
}

// Convert implements runtime.ObjectConvertor; nothing of managedfields calls it.
func (c *converter) Convert(in, _, _ any) error {
	return fmt.Errorf("cannot convert %T in place", in)
}

// ConvertFieldLabel implements runtime.ObjectConvertor; nothing of managedfields calls it.
func (c *converter) ConvertFieldLabel(gvk schema.GroupVersionKind, label, _ string) (string, string, error) {
	return "", "", fmt.Errorf("%s has no field label %q", gvk, label)
}
