package apidiff

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// request is one question to an API server.
//
// A path that starts with "@" is of the group's own namespace: "@services/web" is
// /api/v1/namespaces/NS/services/web, "@apps/v1/deployments" is
// /apis/apps/v1/namespaces/NS/deployments. In paths and bodies $ns is that namespace, and
// ${name:metadata.uid} a field of the answer that was saved as name.
type request struct {
	method, path string
	header       [][2]string
	body         string
	note         string // stands for the body in the recording, where it was generated
	save         string
	events       int    // of a watch: how many to wait for
	user         string // whose certificate to show; empty: an administrator's
	relative     bool   // what differs from the last answer that was not relative is enough
}

// group is a sequence of requests that build on each other, in a namespace of its own.
type group struct {
	name     string
	requests []request
}

const (
	jsonType   = "application/json"
	yamlType   = "application/yaml"
	mergePatch = "application/merge-patch+json"
	jsonPatch  = "application/json-patch+json"
	strategic  = "application/strategic-merge-patch+json"
	applyPatch = "application/apply-patch+yaml"
)

func get(path string) request        { return request{method: http.MethodGet, path: path} }
func post(path, body string) request { return send(http.MethodPost, path, jsonType, toJSON(body)) }
func put(path, body string) request  { return send(http.MethodPut, path, jsonType, toJSON(body)) }
func patch(kind, path, body string) request {
	return send(http.MethodPatch, path, kind, toJSON(body))
}
func apply(path, body string) request { return send(http.MethodPatch, path, applyPatch, toJSON(body)) }

// remove deletes, with DeleteOptions unless body is empty.
func remove(path, body string) request {
	if body == "" {
		return request{method: http.MethodDelete, path: path}
	}
	return send(http.MethodDelete, path, jsonType, toJSON(body))
}

// send sends a body as it is.
func send(method, path, contentType, body string) request {
	return request{method: method, path: path, body: body, header: [][2]string{{"Content-Type", contentType}}}
}

func (r request) with(header, value string) request {
	r.header = append(r.header[:len(r.header):len(r.header)], [2]string{header, value})
	return r
}

func (r request) noted(text string) request { r.note = text; return r }
func (r request) as(save string) request    { r.save = save; return r }
func (r request) by(user string) request    { r.user = user; return r }
func (r request) watch(events int) request  { r.events = events; return r }
func (r request) table() request {
	return r.with("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
}
func (r request) partial(kind string) request {
	return r.with("Accept", "application/json;as="+kind+";g=meta.k8s.io;v=v1")
}

// String is the request on one line, as the recording has it.
func (r request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.method, r.path)
	for _, h := range r.header {
		if h != [2]string{"Content-Type", jsonType} {
			fmt.Fprintf(&b, " [%s: %s]", h[0], h[1])
		}
	}
	if r.user != "" {
		fmt.Fprintf(&b, " as %s", r.user)
	}
	switch {
	case r.note != "":
		fmt.Fprintf(&b, " (%s)", r.note)
	case len(r.body) > 4096:
		fmt.Fprintf(&b, " (%d bytes)", len(r.body))
	case strings.ContainsFunc(r.body, func(c rune) bool { return c < ' ' || c > '~' }):
		fmt.Fprintf(&b, " %q", r.body)
	case r.body != "":
		b.WriteString(" " + r.body)
	}
	return b.String()
}

// toJSON lets bodies be written in YAML.
func toJSON(body string) string {
	data, err := yaml.YAMLToJSON([]byte(body))
	if err != nil {
		panic(fmt.Sprintf("%v in %s", err, body))
	}
	return string(data)
}

var version = regexp.MustCompile(`^v\d`)

// expand makes a path of the shorthand.
func expand(path, namespace string) string {
	rest, ok := strings.CutPrefix(path, "@")
	if !ok {
		return strings.ReplaceAll(path, "$ns", namespace)
	}
	prefix := "/api/v1"
	if parts := strings.SplitN(rest, "/", 3); len(parts) == 3 && version.MatchString(parts[1]) {
		prefix, rest = "/apis/"+parts[0]+"/"+parts[1], parts[2]
	}
	return prefix + "/namespaces/" + namespace + "/" + strings.ReplaceAll(rest, "$ns", namespace)
}

var reference = regexp.MustCompile(`\$\{(\w+):([^}]+)\}`)

// fill puts fields of earlier answers into s.
func fill(t *testing.T, s string, saved map[string]any) string {
	return reference.ReplaceAllStringFunc(s, func(match string) string {
		m := reference.FindStringSubmatch(match)
		v := saved[m[1]]
		for _, key := range strings.Split(m[2], ".") {
			object, _ := v.(map[string]any)
			v = object[key]
		}
		if v == nil {
			t.Logf("no %s was saved as %s", m[2], m[1])
			return "missing"
		}
		return fmt.Sprint(v)
	})
}
