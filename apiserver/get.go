package apiserver

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

// get answers with one object, or what the path shows of it. Its state is the newest, or
// with resourceVersion whatever the cache has ("0") or that state or a newer one.
func (h *handlers) get(c *call) error {
	asked := c.r.URL.Query().Get("resourceVersion")
	revision, err := parseRevision(asked)
	if err != nil {
		return err
	}
	if err := c.objects.WaitFor(c.ctx(), revision); err != nil {
		return err
	}
	v, err := c.objects.Get(c.ctx(), c.namespace, c.name, asked != "")
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, v)
}

// list answers with a snapshot of the collection.
func (h *handlers) list(c *call) error {
	o, err := c.listOptions(false)
	if err != nil {
		return err
	}
	a, err := negotiate(c.r, true)
	if err != nil {
		return err
	}
	if a.as.Kind == "PartialObjectMetadata" {
		list := *c.body
		list.Kind += "List"
		return errNotThatMany(a, "a list", &list)
	}
	found, err := c.objects.List(c.ctx(), storeListOptions(c, o))
	if err != nil {
		return err
	}
	meta := metav1.ListMeta{
		ResourceVersion:    strconv.FormatInt(found.Revision, 10),
		Continue:           found.Continue,
		RemainingItemCount: found.Remaining,
	}
	if a.table() {
		return c.respondTable(a, found.Items, meta)
	}
	f := c.form(a)
	pieces, err := f.list(found.Items, meta)
	if err != nil {
		return err
	}
	var runs []run
	if acceptsGzip(c.r) {
		runs = f.runs(pieces, found.Items)
	}
	return c.write(http.StatusOK, a, f, pieces, runs...)
}

// storeListOptions reads the rules of resourceVersion: none is the newest state, "0"
// whatever the cache has, a number that state or a newer one, or exactly that one. A
// number with a limit but no resourceVersionMatch means exactly, for historic reasons.
func storeListOptions(c *call, o listOptions) store.ListOptions {
	exact := o.ResourceVersionMatch == metav1.ResourceVersionMatchExact ||
		(o.ResourceVersionMatch == "" && o.Limit > 0 && o.revision > 0)
	return store.ListOptions{
		Namespace:   c.namespace,
		Match:       o.match.filter(),
		Revision:    o.revision,
		AnyRevision: o.ResourceVersion == "0",
		Exact:       exact,
		Limit:       o.Limit,
		Continue:    o.Continue,
	}
}

// list writes items one after the other; see form.
func (f *form) list(items []*store.Version, meta metav1.ListMeta) ([][]byte, error) {
	switch f.media {
	case protobufMedia:
		return f.protobufList(items, meta)
	case cborMedia:
		return f.cborList(items, meta)
	}
	head, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	pieces := make([][]byte, 0, 3*len(items)+4)
	pieces = append(pieces, typeHead(f.listGVK), []byte(`"metadata":`), head, []byte(`,"items":[`))
	for i, v := range items {
		item, err := f.item(v)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			pieces = append(pieces, comma)
		}
		if f.typed {
			pieces = append(pieces, f.single(item)...)
		} else {
			pieces = append(pieces, item)
		}
	}
	return append(pieces, []byte(`]}`)), nil
}

var comma = []byte{','}

// protobufList: every list type has its metadata as field 1 and its items as field 2.
func (f *form) protobufList(items []*store.Version, meta metav1.ListMeta) ([][]byte, error) {
	head, err := meta.Marshal()
	if err != nil {
		return nil, err
	}
	head = appendField(nil, 1, head)
	size := len(head)
	pieces := make([][]byte, 0, 2*len(items)+4)
	pieces = append(pieces, unknownHead(f.listGVK), nil, head)
	for _, v := range items {
		item, err := f.item(v)
		if err != nil {
			return nil, err
		}
		tag := binary.AppendUvarint([]byte{2<<3 | 2}, uint64(len(item)))
		size += len(tag) + len(item)
		pieces = append(pieces, tag, item)
	}
	pieces[1] = binary.AppendUvarint(nil, uint64(size))
	return append(pieces, unknownTail), nil
}

// showing makes a version of an object that isn't the stored one, so that it can be
// written down like one.
func showing(o api.Object) *store.Version { return &store.Version{Object: o} }
