package openapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"github.com/gorilla/mux"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	openapiproto "k8s.io/kube-openapi/pkg/util/proto"

	"orrery.example.org/api"
)

type client struct{ http.Handler }

// shared builds each document once for all tests.
var shared = sync.OnceValue(newClient)

func newClient() client {
	r := mux.NewRouter()
	Register(r, api.Table, "v1.37.2+orrery")
	return client{r}
}

func (c client) get(t *testing.T, url string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	w, req := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", url, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c.ServeHTTP(w, req)
	return w
}

// TestIndexLeadsToDocuments walks as client-go does: the index, then by hash.
func TestIndexLeadsToDocuments(t *testing.T) {
	c := shared()
	var list handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(c.get(t, "/openapi/v3").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if _, ok := list.Paths["api/v1"]; !ok || len(list.Paths) != len(groupVersions(api.Table)) {
		t.Fatalf("index %v", list.Paths)
	}
	for place, entry := range list.Paths {
		w := c.get(t, entry.ServerRelativeURL, "Accept", "application/json")
		var doc spec3.OpenAPI
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %v", place, w.Code, err)
		}
		if doc.Version != "3.0.0" || doc.Info.Version != "v1.37.2+orrery" || len(doc.Paths.Paths) == 0 || len(doc.Components.Schemas) == 0 {
			t.Errorf("%s: openapi %s of %+v, %d paths", place, doc.Version, doc.Info, len(doc.Paths.Paths))
		}
		if got := w.Header().Get("Cache-Control"); got != "public, immutable" {
			t.Errorf("%s: Cache-Control %q", place, got)
		}
	}
}

func TestHash(t *testing.T) {
	c := shared()
	etag := c.get(t, "/openapi/v3/api/v1").Header().Get("ETag")
	hash := etag[1 : len(etag)-1]
	if w := c.get(t, "/openapi/v3/api/v1"); w.Code != 200 || w.Header().Get("Cache-Control") != "" {
		t.Errorf("no hash: %d %v", w.Code, w.Header())
	}
	if w := c.get(t, "/openapi/v3/api/v1", "If-None-Match", etag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("known: %d, %d bytes", w.Code, w.Body.Len())
	}
	w := c.get(t, "/openapi/v3/api/v1?hash=OLD")
	if want := "/openapi/v3/api/v1?hash=" + hash; w.Code != 301 || w.Header().Get("Location") != want {
		t.Errorf("old hash: %d to %s, want %s", w.Code, w.Header().Get("Location"), want)
	}
	const small = "/openapi/v3/apis/coordination.k8s.io/v1"
	if one, two := c.get(t, small).Header().Get("ETag"), newClient().get(t, small).Header().Get("ETag"); one != two {
		t.Error("another server of the same kinds has another hash") // restarts must not empty caches
	}
}

func TestNegotiation(t *testing.T) {
	c := shared()
	for _, tt := range []struct {
		path, accept string
		code         int
		want         string
	}{
		{"/openapi/v2", "", 200, mediaJSON},
		{"/openapi/v2", "*/*", 200, mediaJSON},
		{"/openapi/v2", mediaV2, 200, mediaV2},
		{"/openapi/v2", mediaV2Old, 200, mediaV2},
		{"/openapi/v2", "application/json;q=0.5," + mediaV2, 200, mediaV2},
		{"/openapi/v2", "text/html", 406, mediaJSON},
		{"/openapi/v3", "application/json, */*", 200, mediaJSON},
		{"/openapi/v3/apis/apps/v1", mediaV3Old, 200, mediaV3},
		{"/openapi/v3/apis/apps/v2", "", 404, "text/plain; charset=utf-8"},
	} {
		w := c.get(t, tt.path, "Accept", tt.accept)
		if got := w.Header().Get("Content-Type"); w.Code != tt.code || got != tt.want {
			t.Errorf("%s as %s: %d %s, want %d %s", tt.path, tt.accept, w.Code, got, tt.code, tt.want)
		}
	}
}

// TestProtobuf reads v2 as kubectl's explain and diff do, and v3.
func TestProtobuf(t *testing.T) {
	c := shared()
	v2 := &openapi_v2.Document{}
	if err := proto.Unmarshal(c.get(t, "/openapi/v2", "Accept", mediaV2Old).Body.Bytes(), v2); err != nil {
		t.Fatal(err)
	}
	models, err := openapiproto.NewOpenAPIData(v2)
	if err != nil {
		t.Fatal(err)
	}
	pod, ok := models.LookupModel("io.k8s.api.core.v1.Pod").(*openapiproto.Kind)
	if !ok || pod.Fields["spec"].(openapiproto.Reference).Reference() != "io.k8s.api.core.v1.PodSpec" {
		t.Errorf("Pod is %v", pod)
	}
	gvk := pod.GetExtensions()["x-kubernetes-group-version-kind"].([]any)[0].(map[any]any)
	if got := (schema.GroupVersionKind{Group: gvk["group"].(string), Version: gvk["version"].(string), Kind: gvk["kind"].(string)}); got != coreV1.WithKind("Pod") {
		t.Errorf("Pod says it is %v", got)
	}
	v3 := &openapi_v3.Document{}
	if err := proto.Unmarshal(c.get(t, "/openapi/v3/apis/apps/v1", "Accept", mediaV3).Body.Bytes(), v3); err != nil {
		t.Fatal(err)
	}
	if len(v3.Paths.Path) == 0 {
		t.Error("v3 has no paths")
	}
}
