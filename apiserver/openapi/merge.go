package openapi

import (
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// mergeSchema is what server-side apply knows of the types: which lists are maps and
// by which keys, which values change only as a whole, what a missing field means.
// Upstream writes it as comments above the fields, where reflection cannot see it;
// client-go carries a compiled form of the same comments.
type mergeSchema struct{ *schema.Schema }

// annotate adds what is known of the named type and its fields to s.
func (m mergeSchema) annotate(name string, s *spec.Schema, defaults bool) {
	def, ok := m.FindNamedType(name)
	if !ok || def.Map == nil {
		return
	}
	if def.Map.ElementRelationship == schema.Atomic {
		s.AddExtension("x-kubernetes-map-type", "atomic")
	}
	for _, f := range def.Map.Fields {
		p, ok := s.Properties[f.Name]
		if !ok {
			continue
		}
		annotateField(f.Type, &p)
		if defaults {
			p.Default = f.Default
		}
		s.Properties[f.Name] = p
	}
}

func annotateField(t schema.TypeRef, p *spec.Schema) {
	switch {
	case t.ElementRelationship != nil && *t.ElementRelationship == schema.Atomic:
		p.AddExtension("x-kubernetes-map-type", "atomic")
	case t.Inlined.Map != nil && t.Inlined.Map.ElementRelationship == schema.Atomic:
		p.AddExtension("x-kubernetes-map-type", "atomic")
	case t.Inlined.List != nil:
		l := t.Inlined.List
		switch {
		case l.ElementRelationship == schema.Atomic:
			p.AddExtension("x-kubernetes-list-type", "atomic")
		case len(l.Keys) == 0:
			p.AddExtension("x-kubernetes-list-type", "set")
		default:
			p.AddExtension("x-kubernetes-list-type", "map")
			keys := make([]any, len(l.Keys))
			for i, k := range l.Keys {
				keys[i] = k
			}
			p.AddExtension("x-kubernetes-list-map-keys", keys)
		}
	}
}
