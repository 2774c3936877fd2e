package discovery

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/munnerz/goautoneg"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// document is one resource in several representations, the preferred one first, and
// whatever the legacy handler makes of it.
type document struct {
	forms  []representation
	legacy http.Handler
}

// representation is one form and encoding of a document.
type representation struct {
	mediaType string // "application/json"
	version   string // of apidiscovery.k8s.io
	body      func() (content, error)
}

// content is what goes over the wire.
type content struct {
	data []byte
	etag string
}

// encoders are those of the API, JSON first: that is what a browser gets.
var encoders = []struct {
	mediaType string
	runtime.Encoder
}{
	{runtime.ContentTypeJSON, json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{})},
	{runtime.ContentTypeYAML, json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{Yaml: true})},
	{runtime.ContentTypeProtobuf, protobuf.NewSerializer(nil, nil)},
}

// represent makes the representations of what build returns, in every encoding.
// build runs when the first client asks.
func represent(version string, build func() runtime.Object) []representation {
	build = sync.OnceValue(build)
	var d []representation
	for _, e := range encoders {
		d = append(d, representation{e.mediaType, version, sync.OnceValues(func() (content, error) {
			var buf bytes.Buffer
			if err := e.Encode(build(), &buf); err != nil {
				return content{}, fmt.Errorf("encode discovery as %s: %w", e.mediaType, err)
			}
			return content{buf.Bytes(), fmt.Sprintf("%X", sha512.Sum512(buf.Bytes()))}, nil
		})})
	}
	return d
}

// contentType names the form too: it is how clients tell which one they got.
func (r representation) contentType() string {
	return r.mediaType + ";g=" + apidiscoveryv2.GroupName + ";v=" + r.version + ";as=APIGroupDiscoveryList"
}

// ServeHTTP answers in the client's preferred representation, and with 304 where the
// client has it already.
func (d document) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r, ok := d.negotiate(req.Header.Get("Accept"))
	if !ok {
		d.legacy.ServeHTTP(w, req)
		return
	}
	c, err := r.body()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", r.contentType())
	if r.version == "" { // clients keep the aggregated form only
		_, _ = w.Write(c.data)
		return
	}
	etag := strconv.Quote(c.etag)
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Cache-Control", "public")
	w.Header().Set("ETag", etag)
	if req.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(c.data) // an error means the client went away
}

// negotiate finds the first representation that the most wanted clause allows, unless a
// legacy one is wanted before.
func (d document) negotiate(accept string) (representation, bool) {
	for _, clause := range goautoneg.ParseAccept(accept) {
		if clause.Params["as"] == "" {
			break
		}
		for _, r := range d.forms {
			if r.satisfies(clause) {
				return r, true
			}
		}
	}
	return representation{}, false
}

func (r representation) satisfies(clause goautoneg.Accept) bool {
	kind, sub, _ := strings.Cut(r.mediaType, "/")
	if clause.Type != "*" && clause.Type != kind || clause.SubType != "*" && clause.SubType != sub {
		return false
	}
	return clause.Params["g"] == apidiscoveryv2.GroupName && clause.Params["v"] == r.version &&
		clause.Params["as"] == "APIGroupDiscoveryList"
}
