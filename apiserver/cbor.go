package apiserver

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/apiserver/store"
)

// CBOR (RFC 8949) is JSON's data in binary. As in JSON an item is the object's bytes
// without its type; where it stands alone, its map gets two more entries in front and the
// tag that says "this is CBOR" before all.
//
// Kubernetes: served and understood if the gate CBORServingAndStorage is on; here always.
var selfDescribedCBOR = []byte{0xd9, 0xd9, 0xf7}

// The major types of the values that we write the heads of.
const (
	cborArray = 4 << 5
	cborMap   = 5 << 5
)

// cborHeadOf is the head of an array or map of n entries.
func cborHeadOf(major byte, n int) []byte {
	switch {
	case n < 24:
		return []byte{major | byte(n)}
	case n < 1<<8:
		return []byte{major | 24, byte(n)}
	case n < 1<<16:
		return []byte{major | 25, byte(n >> 8), byte(n)}
	}
	return []byte{major | 26, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// cborText writes strings one after the other, the way apimachinery does: as byte strings.
func cborText(texts ...string) []byte {
	var out []byte
	for _, t := range texts {
		b, err := direct.Marshal(t)
		if err != nil {
			panic(fmt.Sprintf("a string in CBOR: %v", err)) // every one can be written
		}
		out = append(out, b...)
	}
	return out
}

// cborType are the two entries that tell an object's type.
func cborType(gvk schema.GroupVersionKind) []byte {
	return cborText("kind", gvk.Kind, "apiVersion", gvk.GroupVersion().String())
}

// cborSingle adds the type to an item. No kind has 22 fields.
func cborSingle(head, item []byte) [][]byte {
	entries := int(item[0] &^ cborMap)
	return [][]byte{selfDescribedCBOR, cborHeadOf(cborMap, entries+2), head, item[1:]}
}

// cborList writes items one after the other.
func (f *form) cborList(items []*store.Version, meta metav1.ListMeta) ([][]byte, error) {
	head, err := direct.Marshal(meta)
	if err != nil {
		return nil, err
	}
	pieces := make([][]byte, 0, len(items)+7)
	pieces = append(pieces, selfDescribedCBOR, cborHeadOf(cborMap, 4), cborType(f.listGVK),
		cborText("metadata"), head, cborText("items"), cborHeadOf(cborArray, len(items)))
	for _, v := range items {
		item, err := f.item(v)
		if err != nil {
			return nil, err
		}
		if f.typed {
			pieces = append(pieces, cborSingle(f.head, item)[1:]...)
		} else {
			pieces = append(pieces, item)
		}
	}
	return pieces, nil
}

// cborEvent is what precedes the object in an event. Events follow each other without
// anything between them: a CBOR sequence (RFC 8742).
func cborEvent(kind watch.EventType) []byte {
	head := append([]byte(nil), selfDescribedCBOR...)
	head = append(head, cborHeadOf(cborMap, 2)...)
	return append(head, cborText("type", string(kind), "object")...)
}
