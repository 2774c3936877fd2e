package apiserver

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPaths asks for what lies beside resources, and in spellings that clients use.
func TestPaths(t *testing.T) {
	c := start(t)
	client := c.http()
	for _, name := range []string{"a", "b"} {
		if code, _, body := c.call(client, "POST", configMaps, `{"metadata":{"name":"`+name+`"}}`); code != 201 {
			t.Fatal(code, body)
		}
	}
	const text, jsonType = "text/plain; charset=utf-8", "application/json"
	for _, e := range []struct {
		method, path string
		code         int
		contentType  string
		body         string // how it begins
	}{
		{"GET", configMaps + "/", 200, jsonType, `{"kind":"ConfigMapList","apiVersion":"v1"`},
		{"GET", configMaps + "/a/", 200, jsonType, `{"kind":"ConfigMap","apiVersion":"v1"`},
		{"GET", "/api/v1/namespaces/default/status/", 200, jsonType, `{"kind":"Namespace"`},
		{"GET", "/api/v1//pods", 404, jsonType, `{"kind":"Status"`},
		{"GET", "/api", 200, jsonType, `{"kind":"APIVersions","versions":["v1"]`},
		{"GET", "/api/", 200, jsonType, `{"kind":"APIVersions"`},
		{"POST", "/api", 405, jsonType, `{"kind":"Status"`},
		{"GET", "/apis/apps/v1/", 200, jsonType, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apps/v1"`},
		{"GET", "/apis/apps?pretty=1", 200, jsonType, "{\n  \"kind\": \"APIGroup\",\n"},
		{"GET", "/version/", 200, jsonType, "{\n  \"major\""},
		{"HEAD", configMaps, 405, jsonType, ""},
		{"HEAD", configMaps + "/a", 405, jsonType, ""},
		{"OPTIONS", configMaps, 405, jsonType, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405}`},
		{"GET", "/nonsense", 404, text, "404 page not found"},
		{"GET", "/apis/example.org/v1/gizmos", 404, text, "404 page not found"},
		{"GET", "/healthz/", 404, text, "404 page not found"},
		{"POST", "/livez", 200, text, "ok"},
		{"GET", "/readyz/etcd", 200, text, "ok"},

		{"GET", "/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1", 200, jsonType, `{"type":"ADDED","object":{"kind":"ConfigMap"`},
		{"GET", "/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1", 200, jsonType, `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"b"`},
		{"GET", "/apis/coordination.k8s.io/v1/watch/leases?timeoutSeconds=1", 200, jsonType, ``},
		{"POST", "/api/v1/watch/namespaces/default/configmaps", 405, jsonType, `{"kind":"Status"`},
		{"GET", "/api/v1/watch/namespaces/default/configmaps/b?fieldSelector=metadata.name%3Da", 400, jsonType, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"fieldSelector metadata.name doesn't match requested name"`},
	} {
		code, header, body := c.call(client, e.method, e.path, "")
		if code != e.code || header.Get("Content-Type") != e.contentType || !strings.HasPrefix(body, e.body) {
			t.Errorf("%s %s: %d %s\n%s", e.method, e.path, code, header.Get("Content-Type"), body)
		}
		if header.Get("Audit-Id") == "" || header.Get("Cache-Control") != "no-cache, private" {
			t.Errorf("%s %s: headers %v", e.method, e.path, header)
		}
	}
	_, header, _ := c.call(client, "GET", configMaps+"/a", "", "Audit-Id: mine")
	if got := header.Get("Audit-Id"); got != "mine" {
		t.Errorf("the client's Audit-Id became %q", got)
	}
}

func TestIndex(t *testing.T) {
	c := start(t)
	code, _, body := c.call(c.http(), "GET", "/", "")
	var index struct{ Paths []string }
	if err := json.Unmarshal([]byte(body), &index); err != nil || code != 200 {
		t.Fatalf("%d %v %s", code, err, body)
	}
	for _, path := range []string{"/api", "/api/v1", "/apis", "/apis/", "/apis/apps", "/apis/apps/v1", "/healthz", "/livez/ping", "/metrics", "/openapi/v2", "/openapi/v3", "/version"} {
		if !slices.Contains(index.Paths, path) {
			t.Errorf("%s is not in the index", path)
		}
	}
	if !slices.IsSorted(index.Paths) || strings.Contains(body, "{name}") {
		t.Error(body)
	}
}

// TestBindings sends a Binding by the older path.
func TestBindings(t *testing.T) {
	c := start(t)
	ctx, podsClient := t.Context(), c.client().CoreV1().Pods("default")
	if _, err := podsClient.Create(ctx, pod("p", "", "c"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const body = `{"kind":"Binding","apiVersion":"v1","metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}}`
	code, _, answer := c.call(c.http(), "POST", "/api/v1/namespaces/default/bindings", body)
	if code != 201 || !strings.Contains(answer, `"status":"Success"`) {
		t.Errorf("%d %s", code, answer)
	}
	p, err := podsClient.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || p.Spec.NodeName != "n1" {
		t.Errorf("bound to %q, %v", p.Spec.NodeName, err)
	}
	if code, _, answer = c.call(c.http(), "POST", "/api/v1/namespaces/default/pods/other/binding", body); code != 400 {
		t.Errorf("another Pod's name: %d %s", code, answer)
	}
	if code, _, answer = c.call(c.http(), "GET", "/api/v1/namespaces/default/bindings", ""); code != 405 {
		t.Errorf("a list of bindings: %d %s", code, answer)
	}
}
