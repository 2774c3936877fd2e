package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// magic begins every stored object that is in protobuf, upstream's and ours.
var magic = []byte("k8s\x00")

// codec translates between the objects of a kind and etcd's values.
type codec struct{ kind *api.Kind }

// message is what k8s.io/api generates for its types.
type message interface {
	runtime.ProtobufMarshaller
	Unmarshal([]byte) error
}

// encode writes an object without its resourceVersion, which is etcd's to give: the
// magic, then a runtime.Unknown with the type and the object in it. A type that has
// no protobuf (a custom resource) is written in JSON, as upstream does.
func (c codec) encode(obj api.Object) ([]byte, error) {
	obj = shallow(obj)
	obj.SetResourceVersion("")
	gvk := c.kind.Storage().GroupVersionKind
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	m, ok := obj.(message)
	if !ok {
		data, err := json.Marshal(obj)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", gvk.Kind, err)
		}
		return data, nil
	}
	envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{Kind: gvk.Kind, APIVersion: gvk.GroupVersion().String()}}
	size := m.Size()
	data := make([]byte, len(magic)+envelope.Size()+size+16) // 16: tags and lengths around the object
	copy(data, magic)
	n, err := envelope.NestedMarshalTo(data[len(magic):], m, uint64(size))
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", gvk.Kind, err)
	}
	return data[:len(magic)+n], nil
}

// decode reads a value, of any version the kind is served under, as the storage version.
func (c codec) decode(data []byte) (api.Object, error) {
	obj, err := c.decodeAny(data)
	if err != nil {
		return nil, fmt.Errorf("decode a stored %s: %w", c.kind.Storage().Kind, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj, nil
}

func (c codec) decodeAny(data []byte) (api.Object, error) {
	body, isProto := bytes.CutPrefix(data, magic)
	if !isProto {
		var meta runtime.TypeMeta
		if err := json.Unmarshal(data, &meta); err != nil {
			return nil, err
		}
		return c.read(meta, func(obj api.Object) error { return json.Unmarshal(data, obj) })
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(body); err != nil {
		return nil, err
	}
	return c.read(envelope.TypeMeta, func(obj api.Object) error {
		m, ok := obj.(message)
		if !ok {
			return errors.New("the type has no protobuf")
		}
		return m.Unmarshal(envelope.Raw)
	})
}

// read fills a new object of the version that meta names, and converts it.
func (c codec) read(meta runtime.TypeMeta, into func(api.Object) error) (api.Object, error) {
	v := c.kind.Version(meta.GroupVersionKind().GroupVersion())
	if v == nil || v.Kind != meta.Kind {
		return nil, fmt.Errorf("it is a %s", meta.GroupVersionKind())
	}
	obj := v.New()
	if err := into(obj); err != nil {
		return nil, err
	}
	if v.ToStorage != nil {
		obj = v.ToStorage(obj)
	}
	return obj, nil
}
