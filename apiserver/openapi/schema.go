package openapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// definitions collects the schemas of Go types under upstream's model names
// ("io.k8s.api.core.v1.Pod").
type definitions struct {
	v3      bool // say what OpenAPI v2 cannot: defaults, and values of either of two types
	merge   mergeSchema
	schemas spec.Definitions
}

// What a type may tell about itself. Types that write themselves to JSON as
// something other than their fields have the last three: Time, Quantity, …
type (
	documented interface{ SwaggerDoc() map[string]string }
	typed      interface{ OpenAPISchemaType() []string }
	formatted  interface{ OpenAPISchemaFormat() string }
	oneOf      interface{ OpenAPIV3OneOfTypes() []string }
)

// of returns the schema of a value of type t: a reference where t has a name of its
// own in the API, which it then defines.
func (d *definitions) of(t reflect.Type) spec.Schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, special := reflect.Zero(t).Interface().(typed); special || t.Kind() == reflect.Struct {
		return *spec.RefSchema("#/definitions/" + d.define(t))
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return *spec.StrFmtProperty("byte") // base64
		}
		items := d.of(t.Elem())
		return *spec.ArrayProperty(&items)
	case reflect.Map:
		values := d.of(t.Elem())
		return *spec.MapProperty(&values)
	default:
		return scalar(t)
	}
}

// scalar is the schema of a value without parts.
func scalar(t reflect.Type) spec.Schema {
	switch t.Kind() {
	case reflect.String:
		s := *spec.StringProperty()
		enumeration(t, &s)
		return s
	case reflect.Bool:
		return *spec.BooleanProperty()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16:
		return *spec.Int32Property()
	case reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
		return *spec.Int64Property()
	case reflect.Float32, reflect.Float64:
		return *spec.Float64Property()
	default:
		return object() // an interface: anything
	}
}

func object() spec.Schema {
	return spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{"object"}}}
}

// define adds the definition of t, and of all it refers to, and returns its name.
func (d *definitions) define(t reflect.Type) string {
	zero := reflect.Zero(t).Interface()
	name := util.GetCanonicalTypeName(zero)
	if strings.Contains(name, "/") {
		name = util.ToRESTFriendlyName(name) // a type that doesn't say its model name
	}
	if _, done := d.schemas[name]; done {
		return name
	}
	d.schemas[name] = spec.Schema{} // ends the recursion of types that contain themselves

	s := object()
	if special, ok := zero.(typed); ok {
		s = d.special(special)
	} else {
		d.fields(name, t, &s)
		d.merge.annotate(name, &s, d.v3)
	}
	if s.Description = doc(t)[""]; s.Description == "" {
		s.Description = descriptions[name]
	}
	if gvks := kinds(t); gvks != nil {
		s.AddExtension("x-kubernetes-group-version-kind", gvks)
	}
	d.schemas[name] = s
	return name
}

// special is the schema of a type that says itself what it looks like in JSON.
func (d *definitions) special(t typed) spec.Schema {
	var s spec.Schema
	if f, ok := t.(formatted); ok {
		s.Format = f.OpenAPISchemaFormat()
	}
	either, ok := t.(oneOf)
	if !ok || !d.v3 {
		s.Type = t.OpenAPISchemaType()
		return s
	}
	for _, name := range either.OpenAPIV3OneOfTypes() {
		s.OneOf = append(s.OneOf, spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{name}}})
	}
	return s
}

// fields adds the JSON fields of struct t to s, the schema of the named model, and
// those of inlined structs too.
func (d *definitions) fields(model string, t reflect.Type, s *spec.Schema) {
	docs := doc(t)
	for f := range fields(t) {
		if f.inline {
			d.fields(model, f.Type, s)
			continue
		}
		p := d.of(f.Type)
		p.Description = docs[f.name]
		if strategy := f.Tag.Get("patchStrategy"); strategy != "" {
			p.AddExtension("x-kubernetes-patch-strategy", strategy)
		}
		if key := f.Tag.Get("patchMergeKey"); key != "" {
			p.AddExtension("x-kubernetes-patch-merge-key", key)
		}
		s.SetProperty(f.name, p)
		need, known := required[strings.TrimPrefix(model, "io.k8s.api.")+"."+f.name]
		if need || !known && !f.optional {
			s.Required = append(s.Required, f.name)
		}
	}
	slices.Sort(s.Required)
}

// doc is what the type's authors wrote about it (under "") and its fields.
func doc(t reflect.Type) map[string]string {
	if t, ok := reflect.Zero(t).Interface().(documented); ok {
		return t.SwaggerDoc()
	}
	return nil
}

// kinds lists the API kinds that t is the Go type of, nil if it is only a part of one.
func kinds(t reflect.Type) []any {
	obj, ok := reflect.New(t).Interface().(runtime.Object)
	if !ok {
		return nil
	}
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return nil
	}
	set := map[schema.GroupVersionKind]bool{}
	for _, gvk := range gvks {
		if gvk.Version != runtime.APIVersionInternal {
			set[gvk] = true
		}
	}
	var list []any
	for _, gvk := range slices.SortedFunc(maps.Keys(set), compareGVK) {
		list = append(list, extension(gvk))
	}
	return list
}

func compareGVK(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) }

// extension is a kind as the specification's extensions write it.
func extension(gvk schema.GroupVersionKind) map[string]any {
	return map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
}
