package apidiff

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// mutations makes requests from a valid object: it sent as it is, and then with one field
// after the other replaced by something else. All are dry runs, so each is alone.
//
// The object is created, or, if path names it, replaced by each mutant.
func mutations(path, valid string) []request {
	object := parse(valid)
	method := http.MethodPost
	if object["metadata"].(map[string]any)["name"] == path[strings.LastIndex(path, "/")+1:] {
		method = http.MethodPut
	}
	path += "?dryRun=All"
	requests := []request{send(method, path, jsonType, toJSON(valid))}
	mutate(object, nil, func(what string) {
		r := send(method, path, jsonType, string(encode(object)))
		r.note, r.relative = what, true
		requests = append(requests, r)
	})
	return requests
}

func parse(body string) map[string]any {
	var object map[string]any
	if err := json.Unmarshal([]byte(toJSON(body)), &object); err != nil {
		panic(err)
	}
	return object
}

// mutate changes each field below v in turn, tells it, and changes it back.
func mutate(v any, at []string, tell func(what string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range keys(v, nil) {
			old := v[key]
			here := append(slices.Clip(at), key)
			for _, m := range mutants(old) {
				v[key] = m
				tell(fmt.Sprintf("%s: %s", strings.Join(here, "."), short(m)))
			}
			delete(v, key)
			tell(strings.Join(here, ".") + " is missing")
			v[key] = old
			mutate(old, here, tell)
		}
		v["unknown"] = "x"
		tell(strings.Join(append(slices.Clip(at), "unknown"), ".") + ": x")
		delete(v, "unknown")
	case []any:
		for i, old := range v {
			here := append(slices.Clip(at), fmt.Sprint(i))
			if _, ok := old.(map[string]any); !ok {
				for _, m := range mutants(old) {
					v[i] = m
					tell(fmt.Sprintf("%s: %s", strings.Join(here, "."), short(m)))
				}
			}
			v[i] = old
			mutate(old, here, tell)
		}
	}
}

// mutants are what a value is replaced by: other types, and values of its own type that
// are too long, negative, empty, or not of the usual characters.
func mutants(v any) []any {
	switch v.(type) {
	case string:
		return []any{7, "", "Not_Valid!", strings.Repeat("x", 300)}
	case float64:
		return []any{"x", -1, 0, 70000, 1.5}
	case bool:
		return []any{"x", nil}
	case []any:
		list := v.([]any)
		twice := append(slices.Clone(list), list...)
		return []any{"x", []any{}, twice}
	}
	return []any{"x", []any{}, map[string]any{}}
}

func short(v any) string {
	s := string(encode(v))
	if len(s) > 40 {
		s = fmt.Sprintf("%s… (%d bytes)", s[:20], len(s))
	}
	return s
}

// join makes one group of several lists.
func join(lists ...[]request) []request { return slices.Concat(lists...) }
