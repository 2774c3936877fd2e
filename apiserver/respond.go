package apiserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/apiserver/store"
)

// respond answers with a version of an object, as the client wants to see it.
func (c *call) respond(code int, v *store.Version) error {
	a, err := negotiate(c.r, true)
	if err != nil {
		return err
	}
	if a.as.Kind == "PartialObjectMetadataList" {
		return errNotThatMany(a, "not a list", c.body)
	}
	if a.table() {
		return c.respondTable(a, []*store.Version{v}, metav1.ListMeta{ResourceVersion: v.Object.GetResourceVersion()})
	}
	if c.body != c.version { // a Scale
		v = showing(c.show(v.Object))
	}
	f := c.form(a)
	item, err := f.item(v)
	if err != nil {
		return err
	}
	return c.write(code, a, f, f.single(item))
}

// form is how to write the call's view for a client that accepts a.
func (c *call) form(a accept) *form {
	if a.partialObject() {
		return metadataOnly(c.body, a.as.GroupVersion(), a.media)
	}
	return whole(c.body, a.media)
}

// respondObject answers with something that isn't stored.
func (c *call) respondObject(code int, o runtime.Object, gvk schema.GroupVersionKind) error {
	return respondObject(c.w, c.r, code, o, gvk)
}

func respondObject(w http.ResponseWriter, r *http.Request, code int, o runtime.Object, gvk schema.GroupVersionKind) error {
	a, err := negotiate(r, false)
	if err != nil {
		return err
	}
	body, err := object(o, gvk, a.media)
	if err != nil {
		return err
	}
	return write(w, r, code, a, [][]byte{body})
}

// answer is respondObject for those who leave the failures to us.
func (h *handlers) answer(w http.ResponseWriter, r *http.Request, o runtime.Object, gvk schema.GroupVersionKind) {
	err := acceptable(r, representations)
	if err == nil {
		err = respondObject(w, r, http.StatusOK, o, gvk)
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

// fail answers with the Status of an error, in the client's media type if it has one.
func (h *handlers) fail(w http.ResponseWriter, r *http.Request, err error) {
	s := status(err)
	if s.Code >= http.StatusInternalServerError {
		h.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	if d := s.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	a, notAcceptable := negotiate(r, false)
	if notAcceptable != nil {
		a = accept{pretty: true} // who can't be understood is a person, perhaps
	}
	body, encodeErr := object(s, statusGVK, a.media)
	if encodeErr != nil {
		h.log.Error("cannot encode a Status", "err", encodeErr)
	}
	_ = write(w, r, int(s.Code), a, [][]byte{body}) // who doesn't listen misses it
}

// write sends the pieces; YAML has to be made of all of them first.
func (c *call) write(code int, a accept, f *form, pieces [][]byte, runs ...run) error {
	if f.media == yamlMedia {
		body, err := f.finish(pieces)
		if err != nil {
			return err
		}
		pieces, runs = [][]byte{body}, nil
	}
	return write(c.w, c.r, code, a, pieces, runs...)
}

var newline = []byte{'\n'}

// gzipFrom is the size from which answers are compressed, as upstream.
const gzipFrom = 128 << 10

func acceptsGzip(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
}

// write sends a body that consists of pieces, some of them in runs. An error here means
// that the client has gone, and there is nobody left to tell.
func write(w http.ResponseWriter, r *http.Request, code int, a accept, pieces [][]byte, runs ...run) error {
	if a.media == jsonMedia {
		var out bytes.Buffer
		if pretty(r, a) && json.Indent(&out, bytes.Join(pieces, nil), "", "  ") == nil {
			pieces, runs = [][]byte{out.Bytes()}, nil
		} else {
			pieces = append(pieces, newline)
		}
	}
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	h := w.Header()
	h.Set("Content-Type", a.media.String())
	if size > gzipFrom && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		w.WriteHeader(code)
		_ = writeGzip(w, pieces, runs)
		return nil
	}
	h.Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(code)
	out := bufio.NewWriterSize(w, min(size, 64<<10)) // the pieces of a list are many and small
	for _, p := range pieces {
		if _, err := out.Write(p); err != nil {
			return nil
		}
	}
	_ = out.Flush()
	return nil
}

// pretty says whether a person reads the answer: asked for in the Accept header or by
// ?pretty=true, or by one of the programs people type on a command line.
func pretty(r *http.Request, a accept) bool {
	if a.pretty {
		return true
	}
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if p := r.URL.Query().Get("pretty"); p != "" {
			yes, _ := strconv.ParseBool(p)
			return yes
		}
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}
