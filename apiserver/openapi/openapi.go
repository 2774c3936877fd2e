// Package openapi describes the API in OpenAPI v2 and v3, for kubectl's explain,
// apply and create --validate, and for everybody who generates clients.
//
// Upstream counterpart: the generated zz_generated.openapi.go, k8s.io/kube-openapi's
// builders and handlers, and routes/openapi.go of the API server. Nothing is generated
// here: the Go types, their struct tags and their SwaggerDoc methods say nearly all of it
// at run time, and the schema of server-side apply, which client-go carries, the rest.
//
// In comes the table of kinds. A document is built when a client first asks for it and
// kept as bytes: the model behind it is ten times their size. One builder makes an
// OpenAPI v2 model; kube-openapi converts it to v3.
//
// Left out: the documents of discovery's and other paths without kinds, and the deprecated
// paths of watches.
package openapi

import (
	"reflect"
	"slices"

	"github.com/gorilla/mux"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/openapiconv"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/fieldschema"
)

// Register adds the routes of the documents that describe kinds to r. version is the
// server's, for the documents' titles.
func Register(r *mux.Router, kinds []*api.Kind, version string) {
	r.Handle("/openapi/v2", v2Document(func() (*spec.Swagger, error) {
		return build(kinds, version, false, groupVersions(kinds)...)
	})).Methods("GET", "HEAD")

	documents := index{}
	for _, gv := range groupVersions(kinds) {
		path := "/openapi/v3" + prefix(gv)
		d := v3Document(path, func() (*spec3.OpenAPI, error) {
			model, err := build(kinds, version, true, gv)
			if err != nil {
				return nil, err
			}
			return openapiconv.ConvertV2ToV3(model), nil
		})
		documents[prefix(gv)[1:]] = d
		r.Handle(path, d).Methods("GET", "HEAD")
	}
	r.Handle("/openapi/v3", indexDocument(documents)).Methods("GET", "HEAD")
}

// groupVersions lists those that kinds are served under which somebody writes.
func groupVersions(kinds []*api.Kind) []schema.GroupVersion {
	var gvs []schema.GroupVersion
	for _, k := range kinds {
		for _, v := range k.Versions {
			if !k.Measured && !slices.Contains(gvs, v.GroupVersion()) {
				gvs = append(gvs, v.GroupVersion())
			}
		}
	}
	return gvs
}

// build describes what is served under gvs in a v2 model; v3 says that it will be
// converted and may hold what only v3 can express.
func build(kinds []*api.Kind, version string, v3 bool, gvs ...schema.GroupVersion) (*spec.Swagger, error) {
	merge := mergeSchema{&fieldschema.Parser().Schema}
	d := &definitions{v3: v3, merge: merge, schemas: spec.Definitions{}}
	items := map[string]spec.PathItem{}
	for _, k := range kinds {
		for _, gv := range gvs {
			if v := k.Version(gv); v != nil {
				if err := (&paths{d, items, k, v}).addKind(); err != nil {
					return nil, err
				}
			}
		}
	}
	d.define(reflect.TypeFor[metav1.WatchEvent]())
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger:     "2.0",
		Info:        &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: version}},
		Paths:       &spec.Paths{Paths: items},
		Definitions: d.schemas,
		SecurityDefinitions: spec.SecurityDefinitions{"BearerToken": &spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{
			Description: "Bearer Token authentication", Type: "apiKey", Name: "authorization", In: "header",
		}}},
		Security: []map[string][]string{{"BearerToken": {}}},
	}}, nil
}
