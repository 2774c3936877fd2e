package openapi

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// pathParameters are the variables of a path, and what every request may ask.
func pathParameters(path, kind string) []spec.Parameter {
	var list []spec.Parameter
	for _, v := range []struct{ name, description string }{
		{"name", "name of the " + kind},
		{"namespace", "namespace of the " + kind},
		{"path", "path to the resource"},
	} {
		if strings.Contains(path, "{"+v.name+"}") {
			p := parameter("path", v.name, "string", v.description)
			p.Required = true
			list = append(list, p)
		}
	}
	return append(list, parameter("query", "pretty", "string",
		"If 'true', the output is indented. Browsers and curl get it so by default."))
}

func parameter(in, name, kind, description string) spec.Parameter {
	return spec.Parameter{
		ParamProps:        spec.ParamProps{In: in, Name: name, Description: description},
		SimpleSchema:      spec.SimpleSchema{Type: kind},
		CommonValidations: spec.CommonValidations{UniqueItems: true}, // not to be repeated
	}
}

func body(s spec.Schema, required bool) spec.Parameter {
	return spec.Parameter{ParamProps: spec.ParamProps{In: "body", Name: "body", Schema: &s, Required: required}}
}

// unserved are options of upstream's types that this server does not know.
var unserved = map[string]bool{
	"shardSelector": true,
	"ignoreStoreReadErrorWithClusterBreakingPotential": true,
}

// queryParameters turns the fields of options types into query parameters, the way the
// server reads them: an unset field is a missing parameter.
func queryParameters(options ...reflect.Type) []spec.Parameter {
	var list []spec.Parameter
	for _, t := range options {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		docs := doc(t)
		for f := range fields(t) {
			value := f.Type
			for value.Kind() == reflect.Pointer || value.Kind() == reflect.Slice {
				value = value.Elem()
			}
			known := slices.ContainsFunc(list, func(p spec.Parameter) bool { return p.Name == f.name })
			if f.inline || known || unserved[f.name] || value.Kind() == reflect.Struct && value.Name() != "Time" {
				continue
			}
			list = append(list, parameter("query", f.name, queryType(value), docs[f.name]))
		}
	}
	slices.SortFunc(list, func(a, b spec.Parameter) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func queryType(t reflect.Type) string {
	if t.Kind() == reflect.Struct { // a time
		return "string"
	}
	s := scalar(t)
	return s.Type[0]
}
