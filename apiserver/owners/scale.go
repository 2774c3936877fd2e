package owners

import (
	"sync"

	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// scaleSchema is the schema of autoscaling/v1's Scale, which client-go's lacks: nobody
// applies one but through other kinds' subresource.
const scaleSchema = `
types:
- name: io.k8s.api.autoscaling.v1.Scale
  map:
    fields:
    - {name: apiVersion, type: {scalar: string}}
    - {name: kind, type: {scalar: string}}
    - {name: metadata, type: {namedType: anything}}
    - name: spec
      type:
        map:
          fields:
          - {name: replicas, type: {scalar: numeric}}
    - name: status
      type:
        map:
          fields:
          - {name: replicas, type: {scalar: numeric}}
          - {name: selector, type: {scalar: string}}
- name: anything
  scalar: untyped
  list:
    elementType: {namedType: anything}
    elementRelationship: atomic
  map:
    elementType: {namedType: anything}
    elementRelationship: separable
`

// scales parses it once; it takes no time worth mentioning.
var scales = sync.OnceValues(func() (managedfields.TypeConverter, error) {
	parser, err := typed.NewParser(scaleSchema)
	if err != nil {
		return nil, err
	}
	return managedfields.NewSchemeTypeConverter(scheme.Scheme, parser), nil
})
