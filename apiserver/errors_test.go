package apiserver

import (
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// call sends a raw request and returns the answer's code, headers and body.
func (c *cluster) call(client *http.Client, method, path, body string, headers ...string) (int, http.Header, string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

const (
	pods       = "/api/v1/namespaces/default/pods"
	configMaps = "/api/v1/namespaces/default/configmaps"
	leases     = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
	podBody    = `{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
)

// TestErrors is the error table: what a client gets for what it did wrong.
func TestErrors(t *testing.T) {
	c := start(t)
	client := c.http()
	for path, body := range map[string]string{configMaps: `{"metadata":{"name":"there"},"data":{"a":"b"}}`, leases: `{"metadata":{"name":"there"}}`} {
		if code, _, body := c.call(client, "POST", path, body); code != 201 {
			t.Fatal(code, body)
		}
	}
	big := `{"metadata":{"name":"big"},"data":{"a":"` + strings.Repeat("x", maxBody) + `"}}`
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for _, e := range []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		reason                   metav1.StatusReason
		message                  string // part of it
	}{
		{"no such path", "GET", "/version/nonsense", "", nil, 404, "NotFound", "the server could not find the requested resource"},
		{"no such resource", "GET", "/api/v1/gizmos", "", nil, 404, "NotFound", "the server could not find the requested resource"},
		{"no such version of a group", "GET", "/apis/apps/v7/gizmos", "", nil, 404, "NotFound", "the server could not find"},
		{"no such subresource", "GET", pods + "/x/gizmo", "", nil, 404, "NotFound", "the server could not find"},
		{"no such object", "GET", pods + "/x", "", nil, 404, "NotFound", `pods "x" not found`},
		{"no such object in a group", "GET", "/apis/apps/v1/namespaces/default/deployments/x", "", nil, 404, "NotFound", `deployments.apps "x" not found`},
		{"namespaced name without namespace", "GET", "/api/v1/pods/x", "", nil, 404, "NotFound", "the server could not find"},
		{"cluster kind in a namespace", "GET", "/api/v1/namespaces/default/nodes", "", nil, 404, "NotFound", "the server could not find"},
		{"wrong method", "PUT", pods, podBody, nil, 405, "MethodNotAllowed", "the server does not allow this method on the requested resource"},
		{"create without namespace", "POST", "/api/v1/pods", podBody, nil, 405, "MethodNotAllowed", "the server does not allow this method"},

		{"accept", "GET", pods, "", []string{"Accept: text/html"}, 406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"},
		{"accept for an object", "GET", configMaps + "/there", "", []string{"Accept: text/html"}, 406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"accept in an unknown form", "GET", pods, "", []string{"Accept: application/json;as=Gizmo;v=v1;g=meta.k8s.io"}, 406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"accept for a watch", "GET", pods + "?watch=1", "", []string{"Accept: application/yaml"}, 406, "NotAcceptable", "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"},
		{"body's type", "POST", pods, podBody, []string{"Content-Type: text/plain"}, 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"patch's type", "PATCH", configMaps + "/there", "{}", []string{"Content-Type: application/json"}, 415, "UnsupportedMediaType", "415: Unsupported Media Type"},
		{"apply: not CBOR", "PATCH", configMaps + "/there?fieldManager=m", "{", []string{"Content-Type: application/apply-patch+cbor"}, 400, "BadRequest", "error decoding CBOR: "},
		{"apply: no manager", "PATCH", configMaps + "/there", "{}", []string{"Content-Type: application/apply-patch+yaml"}, 422, "Invalid", `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`},
		{"apply: not YAML", "PATCH", configMaps + "/there?fieldManager=m", "{", []string{"Content-Type: application/apply-patch+yaml"}, 400, "BadRequest", "error decoding patch: "},
		{"apply: no kind", "PATCH", configMaps + "/there?fieldManager=m", "{}", []string{"Content-Type: application/apply-patch+yaml"}, 400, "BadRequest", "invalid object type: /, Kind="},
		{"apply: another kind", "PATCH", configMaps + "/there?fieldManager=m", "{apiVersion: v1, kind: Secret, metadata: {name: there}}", []string{"Content-Type: application/apply-patch+yaml"}, 400, "BadRequest", "invalid object type: /v1, Kind=Secret"},
		{"apply: another name", "PATCH", configMaps + "/there?fieldManager=m", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}", []string{"Content-Type: application/apply-patch+yaml"}, 400, "BadRequest", "the name of the object (x) does not match the name on the URL (there)"},
		{"apply: unknown field", "PATCH", configMaps + "/there?fieldManager=m", "{apiVersion: v1, kind: ConfigMap, metadata: {name: there}, dats: {}}", []string{"Content-Type: application/apply-patch+yaml"}, 500, "", "failed to create typed patch object (/there; /v1, Kind=ConfigMap): .dats: field not declared in schema"},
		{"apply: with owners", "PATCH", configMaps + "/there?fieldManager=m", "{apiVersion: v1, kind: ConfigMap, metadata: {name: there, managedFields: []}}", []string{"Content-Type: application/apply-patch+yaml"}, 400, "BadRequest", "metadata.managedFields must be nil"},
		{"apply: twice the same field", "PATCH", configMaps + "/there?fieldManager=m&fieldValidation=Strict", "{apiVersion: v1, kind: ConfigMap, metadata: {name: there}, data: {a: x, a: y}}", []string{"Content-Type: application/apply-patch+yaml"}, 400, "BadRequest", "error strict decoding YAML: "},
		{"apply: uid of none", "PATCH", configMaps + "/none?fieldManager=m", "{apiVersion: v1, kind: ConfigMap, metadata: {name: none, uid: gone}}", []string{"Content-Type: application/apply-patch+yaml"}, 409, "Conflict", `Operation cannot be fulfilled on configmaps "none": uid mismatch: the provided object specified uid gone, and no existing object was found`},

		{"empty body", "POST", pods, "", nil, 400, "BadRequest", "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"},
		{"truncated body", "POST", pods, podBody[:20], nil, 400, "BadRequest", "unexpected end of JSON input"},
		{"not an object", "POST", pods, `[1,2]`, nil, 400, "BadRequest", "cannot unmarshal array"},
		{"wrong type", "POST", pods, `{"metadata":{"name":7}}`, nil, 400, "BadRequest", `Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string`},
		{"nested too deeply", "POST", pods, deep, nil, 400, "BadRequest", "exceeded max depth"},
		{"too large", "POST", configMaps, big, nil, 413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"},
		{"not protobuf", "POST", pods, podBody, []string{"Content-Type: application/vnd.kubernetes.protobuf"}, 400, "BadRequest", "provided data does not appear to be a protobuf message"},
		{"bad yaml", "POST", pods, "a: [", []string{"Content-Type: application/yaml"}, 400, "BadRequest", "yaml"},
		{"another kind", "POST", pods, `{"kind":"Service","apiVersion":"v1","metadata":{"name":"x"}}`, nil, 400, "BadRequest", `Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion`},
		{"another version", "POST", pods, `{"kind":"Pod","apiVersion":"apps/v1","metadata":{"name":"x"}}`, nil, 400, "BadRequest", `Pod in version "v1" cannot be handled as a Pod: no kind "Pod" is registered for version "apps/v1" in scheme`},
		{"another group's version", "POST", "/api/v1/namespaces/default/events", `{"kind":"Event","apiVersion":"events.k8s.io/v1","metadata":{"name":"x"}}`, nil, 400, "BadRequest", "the API version in the data (events.k8s.io/v1) does not match the expected API version (v1)"},

		{"another namespace", "POST", pods, `{"metadata":{"name":"x","namespace":"other"}}`, nil, 400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request"},
		{"missing namespace", "POST", "/api/v1/namespaces/nowhere/pods", podBody, nil, 404, "NotFound", `namespaces "nowhere" not found`},
		{"no name", "POST", configMaps, `{"data":{"a":"b"}}`, nil, 422, "Invalid", "metadata.name: Required value: name or generateName is required"},
		{"bad name", "POST", configMaps, `{"metadata":{"name":"Not A Name"}}`, nil, 422, "Invalid", "a lowercase RFC 1123 subdomain must consist of"},
		{"long name", "POST", configMaps, `{"metadata":{"name":"` + strings.Repeat("x", 300) + `"}}`, nil, 422, "Invalid", "must be no more than 253"},
		{"exists", "POST", configMaps, `{"metadata":{"name":"there"}}`, nil, 409, "AlreadyExists", `configmaps "there" already exists`},
		{"with resourceVersion", "POST", configMaps, `{"metadata":{"name":"x","resourceVersion":"7"}}`, nil, 500, "", "resourceVersion should not be set on objects to be created"},
		{"invalid", "POST", pods, `{"metadata":{"name":"x"},"spec":{}}`, nil, 422, "Invalid", "spec.containers: Required value"},
		{"unknown field", "POST", pods + "?fieldValidation=Strict", `{"metadata":{"name":"x"},"spec":{"foo":1}}`, nil, 400, "BadRequest", `Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo"`},
		{"duplicate field", "POST", pods + "?fieldValidation=Strict", `{"metadata":{"name":"x","name":"y"}}`, nil, 400, "BadRequest", `strict decoding error: duplicate field "metadata.name"`},
		{"bad fieldValidation", "POST", configMaps + "?fieldValidation=Maybe", `{"metadata":{"name":"x"}}`, nil, 422, "Invalid", "fieldValidation"},
		{"bad dryRun", "POST", configMaps + "?dryRun=Maybe", `{"metadata":{"name":"x"}}`, nil, 422, "Invalid", "dryRun"},

		{"update: conflict", "PUT", configMaps + "/there", `{"metadata":{"name":"there","resourceVersion":"1"}}`, nil, 409, "Conflict", `Operation cannot be fulfilled on configmaps "there": the object has been modified; please apply your changes to the latest version and try again`},
		{"update: another uid", "PUT", configMaps + "/there", `{"metadata":{"name":"there","uid":"abc"}}`, nil, 409, "Conflict", "Precondition failed: UID in precondition: abc, UID in object meta: "},
		{"update: missing", "PUT", configMaps + "/x", `{"metadata":{"name":"x"}}`, nil, 404, "NotFound", `configmaps "x" not found`},
		{"update: missing, but was there", "PUT", leases + "/x", `{"metadata":{"name":"x","uid":"abc"}}`, nil, 409, "Conflict", "Precondition failed: UID in precondition: abc, UID in object meta: "},
		{"update: unconditional", "PUT", leases + "/there", `{"metadata":{"name":"there"}}`, nil, 422, "Invalid", "metadata.resourceVersion: Invalid value: 0: must be specified for an update"},
		{"update: another name", "PUT", configMaps + "/there", `{"metadata":{"name":"x"}}`, nil, 400, "BadRequest", "the name of the object (x) does not match the name on the URL (there)"},
		{"patch: not json", "PATCH", configMaps + "/there", `{`, []string{"Content-Type: application/merge-patch+json"}, 400, "BadRequest", "invalid JSON patch"},
		{"patch: unknown operation", "PATCH", configMaps + "/there", `[{"op":"jump","path":"/a"}]`, []string{"Content-Type: application/json-patch+json"}, 422, "", "the server rejected our request due to an error in our request"},
		{"patch: test fails", "PATCH", configMaps + "/there", `[{"op":"test","path":"/data/a","value":"z"}]`, []string{"Content-Type: application/json-patch+json"}, 422, "", "the server rejected our request due to an error in our request"},
		{"patch: another name", "PATCH", configMaps + "/there", `{"metadata":{"name":"x"}}`, []string{"Content-Type: application/merge-patch+json"}, 400, "BadRequest", "does not match the name on the URL"},
		{"patch: wrong type", "PATCH", configMaps + "/there", `{"data":7}`, []string{"Content-Type: application/merge-patch+json"}, 422, "Invalid", "cannot unmarshal number"},

		{"delete: missing", "DELETE", pods + "/x", "", nil, 404, "NotFound", `pods "x" not found`},
		{"delete: another uid", "DELETE", configMaps + "/there", `{"preconditions":{"uid":"abc"}}`, nil, 409, "Conflict", "the UID in the precondition (abc) does not match the UID in record ("},
		{"delete: bad policy", "DELETE", configMaps + "/there", `{"propagationPolicy":"Sideways"}`, nil, 422, "Invalid", "propagationPolicy"},
		{"delete: immortal", "DELETE", "/api/v1/namespaces/kube-system", "", nil, 403, "Forbidden", `namespaces "kube-system" is forbidden: this namespace may not be deleted`},

		{"field selector", "GET", pods + "?fieldSelector=spec.foo%3Dbar", "", nil, 400, "BadRequest", "field label not supported: spec.foo"},
		{"label selector", "GET", pods + "?labelSelector=a%3D%3D%3Db", "", nil, 400, "BadRequest", "found '='"},
		{"resourceVersion", "GET", pods + "?resourceVersion=abc", "", nil, 400, "BadRequest", "invalid resource version"},
		{"resourceVersionMatch", "GET", pods + "?resourceVersionMatch=Exact", "", nil, 422, "Invalid", "resourceVersionMatch is forbidden unless resourceVersion is provided"},
		{"continue", "GET", pods + "?continue=nonsense", "", nil, 400, "BadRequest", "continue"},
		{"sendInitialEvents", "GET", pods + "?watch=1&sendInitialEvents=true", "", nil, 422, "Invalid", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"},
		{"a future revision", "GET", pods + "?resourceVersion=1000000&resourceVersionMatch=NotOlderThan", "", nil, 504, "Timeout", "Too large resource version"},
	} {
		t.Run(e.name, func(t *testing.T) {
			code, _, body := c.call(client, e.method, e.path, e.body, e.headers...)
			var s metav1.Status
			if err := yaml.Unmarshal([]byte(body), &s); err != nil {
				t.Fatalf("%d, no Status: %s", code, body)
			}
			if code != e.code || int(s.Code) != e.code || (e.reason != "" && s.Reason != e.reason) ||
				!strings.Contains(s.Message+causes(s), e.message) || s.Status != metav1.StatusFailure {
				t.Errorf("%d\n%s\nwant %d %s %q", code, body, e.code, e.reason, e.message)
			}
			if s.Kind != "Status" || s.APIVersion != "v1" {
				t.Errorf("kind %q apiVersion %q", s.Kind, s.APIVersion)
			}
		})
	}
}

func causes(s metav1.Status) string {
	var all strings.Builder
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			all.WriteString(c.Message)
		}
	}
	return all.String()
}
