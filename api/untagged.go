package api

import (
	"encoding/json"
	"reflect"
)

// untagged is a value as upstream's messages show it. Its validation works on internal
// types, which have no JSON names: all fields appear, under their names in Go.
func untagged(v any) json.RawMessage { return appendUntagged(nil, reflect.ValueOf(v)) }

func appendUntagged(b []byte, v reflect.Value) []byte {
	_, marshals := v.Interface().(json.Marshaler)
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return appendUntagged(b, v.Elem())
	case v.Kind() == reflect.Slice && !v.IsNil():
		for i := range v.Len() {
			b = appendUntagged(append(b, separator(i, '[')), v.Index(i))
		}
		return closed(b, v.Len(), '[', ']')
	case v.Kind() == reflect.Struct && !marshals:
		for i := range v.NumField() {
			b = append(append(b, separator(i, '{'), '"'), v.Type().Field(i).Name...)
			b = appendUntagged(append(b, '"', ':'), v.Field(i))
		}
		return closed(b, v.NumField(), '{', '}')
	}
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return append(b, "null"...) // no field of an API type is of a kind that JSON lacks
	}
	return append(b, data...)
}

func separator(i int, open byte) byte {
	if i == 0 {
		return open
	}
	return ','
}

func closed(b []byte, n int, open, end byte) []byte {
	if n == 0 {
		b = append(b, open)
	}
	return append(b, end)
}
