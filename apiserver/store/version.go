package store

import (
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
)

// Version is one version of one object, as the store holds it. It is shared by
// every reader: never change Object; deep-copy it first.
type Version struct {
	Object   api.Object // of the kind's storage version, without apiVersion and kind; its resourceVersion is set
	Revision int64      // etcd's mod revision

	encodings atomic.Pointer[encoding]
}

// encoding is the object in one encoding, in a list of all that were asked for.
type encoding struct {
	key  any
	next *encoding

	once  sync.Once
	bytes []byte
	err   error
	place atomic.Value
}

// Encoded returns the bytes of this version in the encoding that key names, which
// encode makes at most once for all readers. The result must not be changed.
func (v *Version) Encoded(key any, encode func(api.Object) ([]byte, error)) ([]byte, error) {
	e := v.encoding(key)
	e.once.Do(func() { e.bytes, e.err = encode(v.Object) })
	return e.bytes, e.err
}

// Place is where readers may leave something that they have made of the encoding, for
// the next reader.
func (v *Version) Place(key any) *atomic.Value { return &v.encoding(key).place }

// encoding finds or adds the place for an encoding. There are few per version, and
// many readers at once: a list that only grows at its head needs no lock.
func (v *Version) encoding(key any) *encoding {
	var added *encoding
	for {
		head := v.encodings.Load()
		for e := head; e != nil; e = e.next {
			if e.key == key {
				return e
			}
		}
		if added == nil {
			added = &encoding{key: key}
		}
		added.next = head
		if v.encodings.CompareAndSwap(head, added) {
			return added
		}
	}
}

// newVersion stamps an object that nobody else has seen with its revision.
func newVersion(obj api.Object, revision int64) *Version {
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	return &Version{Object: obj, Revision: revision}
}

// at is the same state at another revision: that of its deletion.
func (v *Version) at(revision int64) *Version { return newVersion(shallow(v.Object), revision) }

// shallow copies an object so that its own fields, those of its metadata included, can
// be set; what they point at is still shared.
func shallow(obj api.Object) api.Object {
	copied := reflect.New(reflect.TypeOf(obj).Elem())
	copied.Elem().Set(reflect.ValueOf(obj).Elem())
	return copied.Interface().(api.Object)
}

// Event is one change of one object.
type Event struct {
	Type     watch.EventType // Added, Modified, Deleted
	Version  *Version        // for Deleted: the last state, its resourceVersion that of the deletion
	Previous *Version        // what was there before; nil for Added

	key string // within the kind
}
