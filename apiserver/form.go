package apiserver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"sigs.k8s.io/yaml"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

// A form is one way to write down objects of one kind: a media type, a group
// version, whole or metadata only. Its point is that an object is serialized once
// per version and form, however many gets, lists and watches show it: what is kept
// are the bytes of the object without its type ("item"), and everything else is
// those bytes with something constant before and after them:
//
//	JSON      {"kind":"Pod","apiVersion":"v1", + item without its first brace
//	CBOR      the same with maps (cbor.go)
//	protobuf  k8s\0, a runtime.Unknown with the type and the item in it
//
// A list is such items one after the other (list.go), a watch one per event (stream.go).
//
// Kubernetes: upstream serializes per response; only watches share bytes.
type form struct {
	media   media
	gvk     schema.GroupVersionKind
	listGVK schema.GroupVersionKind
	typed   bool // the items of a list carry their type, too
	key     any  // what store.Version.Encoded remembers the bytes under
	convert func(api.Object) runtime.Object
	head    []byte // what precedes an item that stands alone
}

// formKey names the encoding of an item.
type formKey struct {
	version *api.Version
	media   media
	partial bool
}

// ofItems is how items are written: YAML is made of JSON at the end.
func (m media) ofItems() media {
	if m == yamlMedia {
		return jsonMedia
	}
	return m
}

// whole is the form that shows all of an object.
func whole(v *api.Version, m media) *form {
	return newForm(&form{
		media: m, gvk: v.GroupVersionKind, listGVK: v.GroupVersion().WithKind(v.Kind + "List"),
		key:     formKey{v, m.ofItems(), false},
		convert: func(o api.Object) runtime.Object { return served(v, o) },
	})
}

// metadataOnly is the form that shows PartialObjectMetadata.
func metadataOnly(v *api.Version, gv schema.GroupVersion, m media) *form {
	return newForm(&form{
		media: m, gvk: gv.WithKind("PartialObjectMetadata"), listGVK: gv.WithKind("PartialObjectMetadataList"),
		typed:   true,
		key:     formKey{v, m.ofItems(), true},
		convert: func(o api.Object) runtime.Object { return partial(o) },
	})
}

func newForm(f *form) *form {
	switch f.media {
	case protobufMedia:
		f.head = unknownHead(f.gvk)
	case cborMedia:
		f.head = cborType(f.gvk)
	default:
		f.head = typeHead(f.gvk)
	}
	return f
}

// served converts from the stored version to the one a client sees.
func served(v *api.Version, o api.Object) api.Object {
	if v.FromStorage == nil {
		return o
	}
	return v.FromStorage(o)
}

// partial is the object's metadata alone.
func partial(o api.Object) *metav1.PartialObjectMetadata {
	meta := reflect.ValueOf(o).Elem().FieldByName("ObjectMeta").Interface().(metav1.ObjectMeta)
	return &metav1.PartialObjectMetadata{ObjectMeta: meta}
}

// item returns the version's bytes without type, made at most once per form.
func (f *form) item(v *store.Version) ([]byte, error) { return v.Encoded(f.key, f.encode) }

func (f *form) encode(o api.Object) ([]byte, error) { return encodeItem(f.convert(o), f.media) }

// encodeItem writes an object without its type.
func encodeItem(o runtime.Object, m media) ([]byte, error) {
	switch m {
	case jsonMedia, yamlMedia:
		return json.Marshal(untyped(o))
	case cborMedia:
		return direct.Marshal(untyped(o))
	}
	p, ok := o.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, errNotAcceptable("application/json, application/yaml")
	}
	return p.Marshal()
}

// untyped is the object without apiVersion and kind; a shallow copy, as objects from
// the store are shared.
func untyped(o runtime.Object) runtime.Object {
	if o.GetObjectKind().GroupVersionKind().Empty() {
		return o
	}
	copied := reflect.New(reflect.TypeOf(o).Elem())
	copied.Elem().Set(reflect.ValueOf(o).Elem())
	out := copied.Interface().(runtime.Object)
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return out
}

// single is an item that stands alone, as pieces to write one after the other.
func (f *form) single(item []byte) [][]byte {
	switch f.media {
	case cborMedia:
		return cborSingle(f.head, item)
	case protobufMedia:
		return [][]byte{f.head, binary.AppendUvarint(nil, uint64(len(item))), item, unknownTail}
	}
	return [][]byte{f.head, afterBrace(item)}
}

// object serializes any object of the given type, for what isn't a stored version:
// Status, Scale, Table.
func object(o runtime.Object, gvk schema.GroupVersionKind, m media) ([]byte, error) {
	item, err := encodeItem(o, m)
	if err != nil {
		return nil, err
	}
	f := newForm(&form{media: m, gvk: gvk})
	return f.finish(f.single(item))
}

// finish joins the pieces of a whole response body that isn't streamed.
func (f *form) finish(pieces [][]byte) ([]byte, error) {
	body := bytes.Join(pieces, nil)
	if f.media != yamlMedia {
		return body, nil
	}
	out, err := yaml.JSONToYAML(body)
	if err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out, nil
}

// afterBrace is a JSON object's text without its first brace.
func afterBrace(item []byte) []byte { return item[1:] }

// typeHead opens a JSON object with its type; an item's fields follow. Every item
// has fields: metadata is always written.
func typeHead(gvk schema.GroupVersionKind) []byte {
	if gvk.Version == "" { // discovery's oldest documents have none
		return fmt.Appendf(nil, `{"kind":%q,`, gvk.Kind)
	}
	return fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,`, gvk.Kind, gvk.GroupVersion().String())
}

// The protobuf envelope of Kubernetes: four bytes of magic, then a runtime.Unknown:
// field 1 the type, 2 the object, 3 and 4 (its encodings) always empty.
var unknownTail = []byte{0x1a, 0, 0x22, 0}

const protobufMagic = "k8s\x00"

func unknownHead(gvk schema.GroupVersionKind) []byte {
	apiVersion, _ := gvk.ToAPIVersionAndKind()
	var typeMeta []byte
	typeMeta = appendField(typeMeta, 1, []byte(apiVersion))
	typeMeta = appendField(typeMeta, 2, []byte(gvk.Kind))
	head := appendField([]byte(protobufMagic), 1, typeMeta)
	return append(head, 2<<3|2) // the length of the item and the item come next
}

// appendField appends a length-delimited protobuf field.
func appendField(b []byte, number byte, value []byte) []byte {
	b = append(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}
