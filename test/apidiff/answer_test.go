package apidiff

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// answer is what of a response must be the same, after normalisation.
type answer struct {
	Status int
	Header map[string]string // without what every answer has, but with what of that is missing
	Body   any               // decoded, or a text
}

// asker asks one server one group's questions.
type asker struct {
	t         *testing.T
	server    *server
	namespace string
	saved     map[string]any
	normal    *normalizer
	last      answer // that was not relative
}

// ask asks all of a group, in order. Every group has a namespace, and in it the
// ServiceAccount that a controller would make.
func ask(t *testing.T, s *server, g group) []answer {
	a := &asker{t: t, server: s, namespace: "t-" + g.name, saved: map[string]any{}, normal: newNormalizer(g)}
	var answers []answer
	for _, r := range g.requests {
		answers = append(answers, a.ask(r))
	}
	return answers
}

func (a *asker) ask(r request) answer {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	path := fill(a.t, expand(r.path, a.namespace), a.saved)
	body := strings.ReplaceAll(fill(a.t, r.body, a.saved), "$ns", a.namespace)
	req, err := http.NewRequestWithContext(ctx, r.method, a.server.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatalf("%s: %v", r, err)
	}
	req.Header.Set("User-Agent", "apidiff/1.0")
	for _, h := range r.header {
		req.Header.Set(h[0], h[1])
	}
	resp, err := a.server.client(a.t, r.user).Do(req)
	if err != nil {
		a.t.Fatalf("%s: %v", r, err)
	}
	defer resp.Body.Close()
	got := answer{Status: resp.StatusCode, Header: headers(resp.Header)}
	if r.events > 0 && resp.StatusCode == http.StatusOK {
		got.Body, err = events(resp.Body, r.events)
	} else {
		got.Body, err = content(resp)
	}
	if err != nil {
		a.t.Fatalf("%s: read the answer: %v", r, err)
	}
	if r.save != "" {
		a.saved[r.save], err = decode(encode(got.Body)) // as it is, before normalisation
		must(a.t, err)
	}
	got.Body = a.normal.body(got.Body, strings.Contains(r.path, "dryRun"))
	switch {
	case !r.relative:
		a.last = got
	case got.Status == a.last.Status:
		got.Body = relative(a.last.Body, got.Body)
	}
	return got
}

// standard headers are in every answer; only their absence is news.
var standard = map[string]string{
	"Audit-Id": "", "Date": "", // "": any value
	"Cache-Control": "no-cache, private",
}

// headers are those worth comparing.
func headers(h http.Header) map[string]string {
	notes := map[string]string{}
	for name, values := range h {
		if name == "Content-Length" || strings.HasPrefix(name, "X-Kubernetes-Pf-") {
			continue // priority and fairness: which flow schema, by its uid
		}
		value := strings.Join(values, " | ")
		if want, ok := standard[name]; !ok || want != "" && want != value {
			notes[name] = value
		}
	}
	for name := range standard {
		if len(h[name]) == 0 {
			notes[name] = "(missing)"
		}
	}
	return notes
}

// content reads and decodes a whole body.
func content(resp *http.Response) (any, error) {
	data, err := io.ReadAll(resp.Body)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.Header.Get("Content-Encoding") != "":
		return "encoded", nil
	case mediaType == yamlType:
		if data, err = yaml.YAMLToJSON(data); err != nil {
			return nil, err
		}
		return decode(data)
	case strings.HasPrefix(mediaType, jsonType):
		return decode(data)
	case strings.HasPrefix(mediaType, "application/vnd.kubernetes.protobuf"):
		return fmt.Sprintf("protobuf: %q", data[:min(4, len(data))]), nil
	case strings.HasPrefix(mediaType, "application/cbor"):
		return fmt.Sprintf("CBOR: %x", data[:min(3, len(data))]), nil
	}
	return string(data), nil
}

func decode(data []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return v, d.Decode(&v)
}

// events reads some events of a watch.
func events(r io.Reader, n int) (any, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	var all []any
	for range n {
		var event any
		if err := d.Decode(&event); err == io.EOF {
			break
		} else if err != nil {
			return all, err
		}
		all = append(all, event)
	}
	return all, nil
}

// relative is what must be changed in one body to get another.
func relative(from, to any) any {
	changes := map[string]any{}
	for _, c := range compare("", from, to) {
		changes[c.at] = c.ours
	}
	return changes
}

// change is one place in which two answers differ.
type change struct {
	at           string
	theirs, ours any // nil: nothing
}

func (c change) String() string {
	return fmt.Sprintf("  %s\n    theirs: %s\n    ours:   %s", c.at, text(c.theirs), text(c.ours))
}

func text(v any) string {
	if v == nil {
		return "(nothing)"
	}
	return string(encode(v))
}

// encode writes JSON for people: one line, and < stays <.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // it was JSON before
	}
	return bytes.TrimSpace(b.Bytes())
}

// differs lists where two answers differ.
func differs(theirs, ours answer) []change {
	var changes []change
	if theirs.Status != ours.Status {
		changes = append(changes, change{"status", theirs.Status, ours.Status})
	}
	for _, name := range keys(theirs.Header, ours.Header) {
		if theirs.Header[name] != ours.Header[name] {
			changes = append(changes, change{"header " + name, theirs.Header[name], ours.Header[name]})
		}
	}
	if kindOf(theirs.Body) != kindOf(ours.Body) { // a failure and a success: not field by field
		return append(changes, change{"body", theirs.Body, ours.Body})
	}
	return append(changes, compare("", theirs.Body, ours.Body)...)
}

func kindOf(body any) any {
	object, _ := body.(map[string]any)
	return object["kind"]
}

// compare walks two JSON values.
func compare(at string, theirs, ours any) []change {
	switch a := theirs.(type) {
	case map[string]any:
		if b, ok := ours.(map[string]any); ok {
			var changes []change
			for _, key := range keys(a, b) {
				changes = append(changes, compare(at+"."+key, a[key], b[key])...)
			}
			return changes
		}
	case []any:
		if b, ok := ours.([]any); ok && len(a) == len(b) {
			var changes []change
			for i := range a {
				changes = append(changes, compare(fmt.Sprintf("%s[%d]", at, i), a[i], b[i])...)
			}
			return changes
		}
	}
	if bytes.Equal(encode(theirs), encode(ours)) {
		return nil
	}
	return []change{{at, theirs, ours}}
}

func keys[V any](a, b map[string]V) []string {
	var all []string
	for key := range a {
		all = append(all, key)
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return all
}
