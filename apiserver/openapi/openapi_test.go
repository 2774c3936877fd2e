package openapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/kube-openapi/pkg/openapiconv"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"orrery.example.org/api"
)

var (
	coreV1 = schema.GroupVersion{Version: "v1"}
	appsV1 = schema.GroupVersion{Group: "apps", Version: "v1"}
)

func model(t testing.TB, v3 bool, gvs ...schema.GroupVersion) *spec.Swagger {
	t.Helper()
	m, err := build(api.Table, "v1.37.2+orrery", v3, gvs...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// all is the v2 description of everything.
func all(t testing.TB) *spec.Swagger { return model(t, false, groupVersions(api.Table)...) }

// plain decodes what v is in JSON, without the descriptions.
func plain(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	walk(tree, func(m map[string]any) {
		if _, text := m["description"].(string); text {
			delete(m, "description")
		}
	})
	return tree
}

func walk(tree any, visit func(map[string]any)) {
	switch tree := tree.(type) {
	case map[string]any:
		visit(tree)
		for _, v := range tree {
			walk(v, visit)
		}
	case []any:
		for _, v := range tree {
			walk(v, visit)
		}
	}
}

func TestSchemas(t *testing.T) {
	v2, v3 := all(t), openapiconv.ConvertV2ToV3(model(t, true, coreV1))
	property := func(name, field string) spec.Schema {
		return v2.Definitions["io.k8s.api.core.v1."+name].Properties[field]
	}
	for _, tt := range []struct {
		name string
		got  any
		want string
	}{
		{"required field", v2.Definitions["io.k8s.api.core.v1.ContainerPort"], `{"type": "object", "required": ["containerPort"], "properties": {
			"containerPort": {"type": "integer", "format": "int32"}, "hostIP": {"type": "string"},
			"hostPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"}, "protocol": {"type": "string", "enum": ["SCTP", "TCP", "UDP"]}}}`},
		{"defaults are v3's", v3.Components.Schemas["io.k8s.api.core.v1.ContainerPort"], `{"type": "object", "required": ["containerPort"], "properties": {
			"containerPort": {"type": "integer", "format": "int32", "default": 0}, "hostIP": {"type": "string"},
			"hostPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"}, "protocol": {"type": "string", "default": "TCP", "enum": ["SCTP", "TCP", "UDP"]}}}`},
		{"kind", v3.Components.Schemas["io.k8s.api.core.v1.Service"], `{"type": "object", "properties": {
			"apiVersion": {"type": "string"}, "kind": {"type": "string"},
			"metadata": {"default": {}, "allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]},
			"spec": {"default": {}, "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ServiceSpec"}]},
			"status": {"default": {}, "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ServiceStatus"}]}},
			"x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Service"}]}`},
		{"either type in v2", v2.Definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"], `{"type": "string", "format": "int-or-string"}`},
		{"either type in v3", v3.Components.Schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"],
			`{"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}`},
		{"quantity", v2.Definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"], `{"type": "string"}`},
		{"time", v2.Definitions["io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"], `{"type": "string", "format": "date-time"}`},
		{"anything", v2.Definitions["io.k8s.apimachinery.pkg.runtime.RawExtension"], `{"type": "object"}`},
		{"list merged by keys", property("ServiceSpec", "ports"), `{"type": "array", "items": {"$ref": "#/definitions/io.k8s.api.core.v1.ServicePort"},
			"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
			"x-kubernetes-patch-merge-key": "port", "x-kubernetes-patch-strategy": "merge"}`},
		{"list as a whole", property("Container", "command"), `{"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"}`},
		{"list as a set", v2.Definitions["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].Properties["finalizers"],
			`{"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}`},
		{"map as a whole", property("ServiceSpec", "selector"),
			`{"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"}`},
		{"bytes", property("Secret", "data"), `{"type": "object", "additionalProperties": {"type": "string", "format": "byte"}}`},
		{"map of names", property("ResourceRequirements", "limits"),
			`{"type": "object", "additionalProperties": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want any
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, plain(t, tt.got)); diff != "" {
				t.Errorf("schema (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReferences follows every reference of every document, as clients do.
func TestReferences(t *testing.T) {
	documents := []string{"/openapi/v2"}
	for _, gv := range groupVersions(api.Table) {
		documents = append(documents, "/openapi/v3"+prefix(gv))
	}
	for _, path := range documents {
		var doc map[string]any
		if err := json.Unmarshal(shared().get(t, path).Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		definitions, _ := doc["definitions"].(map[string]any)
		if components, ok := doc["components"].(map[string]any); ok {
			definitions = components["schemas"].(map[string]any)
		}
		refs := 0
		walk(doc, func(m map[string]any) {
			ref, ok := m["$ref"].(string)
			if !ok {
				return
			}
			refs++
			if definitions[ref[strings.LastIndex(ref, "/")+1:]] == nil {
				t.Errorf("%s: %s leads nowhere", path, ref)
			}
		})
		if refs == 0 {
			t.Errorf("%s has no references", path)
		}
	}
}

func keys[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	return list
}

// TestOperations checks what kubectl reads in operations, on all of them.
func TestOperations(t *testing.T) {
	ids, v2 := map[string]string{}, all(t)
	for path, item := range v2.Paths.Paths {
		for _, op := range []*spec.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			if other, taken := ids[op.ID]; taken {
				t.Errorf("%s names operations of both %s and %s", op.ID, path, other)
			}
			ids[op.ID] = path
			if op.Extensions["x-kubernetes-group-version-kind"] == nil {
				t.Errorf("%s has no kind", op.ID)
			}
		}
		if op := item.Patch; op != nil && op.Extensions["x-kubernetes-action"] != "connect" && !slices.ContainsFunc(op.Parameters, func(p spec.Parameter) bool { return p.Name == "fieldValidation" }) {
			t.Errorf("%s: kubectl asks here whether the server validates fields", op.ID)
		}
	}
	for id, path := range map[string]string{
		"listCoreV1ServiceForAllNamespaces":       "/api/v1/services",
		"deleteCoreV1CollectionNamespacedService": "/api/v1/namespaces/{namespace}/services",
		"patchAppsV1NamespacedDeploymentScale":    "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
		"readCoreV1Node":                          "/api/v1/nodes/{name}",
		"replaceCoreV1NodeStatus":                 "/api/v1/nodes/{name}/status",
		"createCoreV1NamespacedPodBinding":        "/api/v1/namespaces/{namespace}/pods/{name}/binding",
		"connectCoreV1PostNamespacedPodExec":      "/api/v1/namespaces/{namespace}/pods/{name}/exec",
		"readDiscoveryV1NamespacedEndpointSlice":  "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{name}",
		"listEventsV1NamespacedEvent":             "/apis/events.k8s.io/v1/namespaces/{namespace}/events",
		"listCoreV1NamespacedEvent":               "/api/v1/namespaces/{namespace}/events",
		"replaceCoordinationV1NamespacedLease":    "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}",
	} {
		if ids[id] != path {
			t.Errorf("%s is at %q, want %s", id, ids[id], path)
		}
	}
}

// TestReview describes a kind that can only be created.
func TestReview(t *testing.T) {
	review := &api.Kind{
		Versions: []api.Version{{GroupVersionKind: coreV1.WithKind("Node"), New: api.ByResource("", "nodes").Storage().New}},
		Resource: "nodereviews",
	}
	m, err := build([]*api.Kind{review}, "", false, coreV1)
	if err != nil {
		t.Fatal(err)
	}
	item := m.Paths.Paths["/api/v1/nodereviews"]
	if len(m.Paths.Paths) != 1 || item.Post == nil || item.Get != nil || item.Delete != nil {
		t.Errorf("paths %v, %+v", keys(m.Paths.Paths), item.PathItemProps)
	}
}

// TestMergePatchMeta reads merge keys as kubectl apply does.
func TestMergePatchMeta(t *testing.T) {
	v3 := openapiconv.ConvertV2ToV3(model(t, true, appsV1))
	var meta strategicpatch.LookupPatchMeta = strategicpatch.PatchMetaFromOpenAPIV3{
		SchemaList: v3.Components.Schemas, Schema: v3.Components.Schemas["io.k8s.api.apps.v1.Deployment"],
	}
	var err error
	for _, field := range []string{"spec", "template", "spec"} {
		if meta, _, err = meta.LookupPatchMetadataForStruct(field); err != nil {
			t.Fatal(err)
		}
	}
	containers, how, err := meta.LookupPatchMetadataForSlice("containers")
	if err != nil || how.GetPatchMergeKey() != "name" {
		t.Fatalf("containers merge by %q, %v", how.GetPatchMergeKey(), err)
	}
	if _, how, err = containers.LookupPatchMetadataForSlice("ports"); err != nil || how.GetPatchMergeKey() != "containerPort" {
		t.Fatalf("ports merge by %q, %v", how.GetPatchMergeKey(), err)
	}
}

// TestLazy registers kinds that cannot be built: nothing may look at them yet.
func TestLazy(t *testing.T) {
	Register(mux.NewRouter(), []*api.Kind{{
		Versions: []api.Version{{GroupVersionKind: coreV1.WithKind("Pod"), New: func() api.Object { panic("built at start") }}},
	}}, "")
}

func TestTitles(t *testing.T) {
	for kind, want := range map[string]string{"Pod": "a ", "Event": "an ", "Endpoints": "", "Ingress": "an "} {
		if got := article(kind); got != want {
			t.Errorf("article(%s) = %q, want %q", kind, got, want)
		}
	}
	if got := scalar(reflect.TypeFor[uint32]()); got.Format != "int64" {
		t.Errorf("uint32 has format %s", got.Format) // int32 could not hold it
	}
}

func BenchmarkV3(b *testing.B) {
	for b.Loop() {
		for _, gv := range groupVersions(api.Table) {
			if _, err := openapiconv.ConvertV2ToV3(model(b, true, gv)).MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkV2(b *testing.B) {
	for b.Loop() {
		if _, err := all(b).MarshalJSON(); err != nil {
			b.Fatal(err)
		}
	}
}
