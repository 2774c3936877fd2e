package openapi

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/munnerz/goautoneg"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const (
	mediaJSON = "application/json"
	mediaV2   = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	mediaV3   = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"

	// Older names of the two, which clients still ask for.
	mediaV2Old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
	mediaV3Old = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
)

// document is one description, as JSON and, where it has them, in other encodings.
type document struct {
	path  string // of a document that clients may keep forever, by its hash; else ""
	etag  func() (string, error)
	forms []form
}

// form is an encoding of a document.
type form struct {
	accept, mediaType string
	body              func() ([]byte, error)
}

// v2Document describes all groups at once. kubectl reads it as protobuf.
func v2Document(build func() (*spec.Swagger, error)) *document {
	return newDocument("", build, func(data []byte) ([]byte, error) {
		model, err := openapi_v2.ParseDocument(data)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(model)
	}, mediaV2, mediaV2Old)
}

// v3Document describes one group version.
func v3Document(path string, build func() (*spec3.OpenAPI, error)) *document {
	return newDocument(path, build, handler3.ToV3ProtoBinary, mediaV3, mediaV3Old)
}

// index holds the v3 documents by their place ("apis/apps/v1").
type index map[string]*document

// indexDocument tells where each v3 document is and, by a hash in its address, which
// state it has: a client that knows the address needs not ask again.
func indexDocument(documents index) *document {
	return newDocument("", func() (*handler3.OpenAPIV3Discovery, error) {
		list := &handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
		for place, d := range documents {
			etag, err := d.etag()
			if err != nil {
				return nil, err
			}
			list.Paths[place] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: d.url(etag)}
		}
		return list, nil
	}, nil)
}

// newDocument serves what build returns, built on the first request. The protobuf form
// is made from JSON when somebody asks for it.
func newDocument[T any](path string, build func() (T, error), toProto func([]byte) ([]byte, error), protoTypes ...string) *document {
	asJSON := sync.OnceValues(func() ([]byte, error) {
		model, err := build()
		if err != nil {
			return nil, fmt.Errorf("describe the API: %w", err)
		}
		if m, ok := any(model).(json.Marshaler); ok {
			return m.MarshalJSON() // json.Marshal would read it all again, to compact it
		}
		return json.Marshal(model)
	})
	d := &document{path: path, forms: []form{{mediaJSON, mediaJSON, asJSON}}}
	d.etag = sync.OnceValues(func() (string, error) {
		data, err := asJSON()
		return fmt.Sprintf("%X", sha512.Sum512(data)), err
	})
	asProto := sync.OnceValues(func() ([]byte, error) {
		data, err := asJSON()
		if err != nil {
			return nil, err
		}
		return toProto(data)
	})
	for _, accept := range protoTypes {
		d.forms = append(d.forms, form{accept, protoTypes[0], asProto})
	}
	return d
}

func (d *document) url(etag string) string {
	u := url.URL{Path: d.path, RawQuery: url.Values{"hash": {etag}}.Encode()}
	return u.String()
}

// ServeHTTP sends the form that the client prefers. A request that names a hash is
// answered for good, or sent to the present one.
func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := d.negotiate(r.Header.Get("Accept"))
	if !ok {
		fail(w, http.StatusNotAcceptable, "NotAcceptable", "no such encoding of the OpenAPI description")
		return
	}
	etag, err := d.etag()
	if err != nil {
		fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	w.Header().Set("Vary", "Accept")
	if hash := r.URL.Query().Get("hash"); hash != "" && d.path != "" {
		if hash != etag {
			http.Redirect(w, r, d.url(etag), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	data, err := f.body()
	if err != nil {
		fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	w.Header().Set("ETag", strconv.Quote(etag))
	w.Header().Set("Content-Type", f.mediaType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data)) // answers If-None-Match
}

// negotiate finds the first form that the most wanted clause allows.
func (d *document) negotiate(accept string) (form, bool) {
	if accept == "" {
		accept = "*/*"
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		for _, f := range d.forms {
			kind, sub, _ := strings.Cut(f.accept, "/")
			if (clause.Type == "*" || clause.Type == kind) && (clause.SubType == "*" || clause.SubType == sub) {
				return f, true
			}
		}
	}
	return form{}, false
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(&metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}
