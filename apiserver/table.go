package apiserver

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/apiserver/store"
)

// respondTable answers with the rows that kubectl get prints.
func (c *call) respondTable(a accept, items []*store.Version, meta metav1.ListMeta) error {
	rows, err := c.newRows(a)
	if err != nil {
		return err
	}
	t, err := rows.table(items, true)
	if err != nil {
		return err
	}
	t.ListMeta = meta
	body, err := object(t, a.as, a.media)
	if err != nil {
		return err
	}
	return write(c.w, c.r, http.StatusOK, a, [][]byte{body})
}

// rows turns objects into table rows.
type rows struct {
	*resource
	include metav1.IncludeObjectPolicy
	object  *form // what a row carries of its object; nil: nothing
}

// newRows reads includeObject: None, Metadata (the default) or Object.
func (c *call) newRows(a accept) (*rows, error) {
	t := &rows{resource: c.resource, include: metav1.IncludeObjectPolicy(c.r.URL.Query().Get("includeObject"))}
	switch t.include {
	case metav1.IncludeNone:
	case metav1.IncludeObject:
		t.object = whole(c.version, jsonMedia)
	case metav1.IncludeMetadata, "":
		t.object = metadataOnly(c.version, a.as.GroupVersion(), jsonMedia)
	default:
		return nil, apierrors.NewBadRequest("Unable to convert to Table as requested: " +
			field.Invalid(field.NewPath("includeObject"), t.include, "must be 'Metadata', 'Object', 'None', or empty").Error())
	}
	return t, nil
}

// table makes the table of some objects, with or without the head.
func (t *rows) table(items []*store.Version, head bool) (*metav1.Table, error) {
	out := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{}, Rows: make([]metav1.TableRow, 0, len(items))}
	if head {
		for _, column := range t.kind.Columns {
			out.ColumnDefinitions = append(out.ColumnDefinitions, column.TableColumnDefinition)
		}
	}
	for _, v := range items {
		row, err := t.row(v)
		if err != nil {
			return nil, err
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

func (t *rows) row(v *store.Version) (metav1.TableRow, error) {
	row := metav1.TableRow{Cells: make([]any, 0, len(t.kind.Columns))}
	for _, column := range t.kind.Columns {
		row.Cells = append(row.Cells, column.Cell(v.Object))
	}
	if t.kind.RowConditions != nil {
		row.Conditions = t.kind.RowConditions(v.Object)
	}
	if t.object == nil {
		return row, nil
	}
	item, err := t.object.item(v)
	if err != nil {
		return row, err
	}
	row.Object = runtime.RawExtension{Raw: join(t.object.single(item))}
	return row, nil
}

// event is the table of one object in a watch: the first has the head, all have the
// object's resourceVersion.
func (t *rows) event(v *store.Version, head bool) (*metav1.Table, error) {
	out, err := t.table([]*store.Version{v}, head)
	if err != nil {
		return nil, err
	}
	if !head {
		out.ColumnDefinitions = nil
	}
	out.ResourceVersion = v.Object.GetResourceVersion()
	return out, nil
}

func join(pieces [][]byte) []byte {
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	out := make([]byte, 0, n)
	for _, p := range pieces {
		out = append(out, p...)
	}
	return out
}
