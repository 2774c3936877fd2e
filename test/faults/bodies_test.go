package faults

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const configMaps = "/api/v1/namespaces/default/configmaps"

// A request that makes no sense.
type nonsense struct {
	name        string
	method      string
	path        string
	contentType string
	body        string
	want        int    // status
	says        string // a part of the message
}

var (
	deep   = strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	depth  = strings.Repeat("[", 200_000)
	bomb   = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + yamlBomb()
	object = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}`
)

// yamlBomb doubles and doubles.
func yamlBomb() string {
	var b strings.Builder
	for c := byte('b'); c <= 'j'; c++ {
		last := "*" + string(c-1)
		b.WriteString(string(c) + ": &" + string(c) + " [" + strings.Repeat(last+",", 9) + last + "]\n")
	}
	return b.String()
}

var bodies = []nonsense{
	{"nothing", "POST", configMaps, "application/json", "", 400, "<empty>"},
	{"cut off", "POST", configMaps, "application/json", object, 400, "unexpected"},
	{"a list", "POST", configMaps, "application/json", `[]`, 400, ""},
	{"a number", "POST", configMaps, "application/json", `7`, 400, ""},
	{"wrong type", "POST", configMaps, "application/json", object + `,"data":{"a":1}}`, 400, "cannot unmarshal number"},
	{"wrong kind", "POST", configMaps, "application/json", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`, 400, ""},
	{"wrong version", "POST", configMaps, "application/json", `{"apiVersion":"v9","kind":"ConfigMap","metadata":{"name":"x"}}`, 400, "v9"},
	{"not what it says", "POST", configMaps, "application/vnd.kubernetes.protobuf", object + "}", 400, ""},
	{"protobuf cut off", "POST", configMaps, "application/vnd.kubernetes.protobuf", "k8s\x00\x0a\xff\xff\xff\xff\x0f", 400, ""},
	{"unknown media", "POST", configMaps, "text/html", object + "}", 415, ""},
	{"too large", "POST", configMaps, "application/json", object + `,"data":{"a":"` + strings.Repeat("a", 4<<20) + `"}}`, 413, ""},
	{"too large for an object", "POST", configMaps, "application/json", object + `,"data":{"a":"` + strings.Repeat("a", 2<<20) + `"}}`, 422, "Too long"},
	{"too deep", "POST", configMaps, "application/json", object + `,"data":` + deep + `}`, 400, "depth"},
	{"too many brackets", "POST", configMaps, "application/json", depth, 400, ""},
	{"a bomb in YAML", "POST", configMaps, "application/yaml", bomb, 400, ""},
	{"deep YAML", "POST", configMaps, "application/yaml", strings.Repeat("[", 60_000), 400, ""},
	{"no UTF-8", "POST", configMaps, "application/json", object + ",\"data\":{\"a\":\"\xff\xfe\"}}", 0, ""},
	{"patch: cut off", "PATCH", configMaps + "/victim", "application/merge-patch+json", `{"data":`, 400, ""},
	{"patch: too deep", "PATCH", configMaps + "/victim", "application/merge-patch+json", deep, 400, ""},
	{"patch: deep strategic", "PATCH", configMaps + "/victim", "application/strategic-merge-patch+json", deep, 400, ""},
	{"patch: unknown media", "PATCH", configMaps + "/victim", "application/json", `{}`, 415, ""},
	{"patch: too many operations", "PATCH", configMaps + "/victim", "application/json-patch+json",
		"[" + strings.Repeat(`{"op":"test","path":"/a","value":1},`, 10_001) + `{"op":"test","path":"/a","value":1}]`, 413, "10000"},
	{"patch: copies that double", "PATCH", configMaps + "/victim", "application/json-patch+json",
		`[{"op":"add","path":"/data","value":{"a":"` + strings.Repeat("x", 1000) + `"}}` + strings.Repeat(`,{"op":"copy","from":"/data","path":"/data/b"}`, 60) + `]`, 0, ""},
	{"apply: a bomb", "PATCH", configMaps + "/y?fieldManager=x", "application/apply-patch+yaml", bomb, 400, ""},
	{"delete: wrong options", "DELETE", configMaps + "/nothing", "application/json", `{"gracePeriodSeconds":"soon"}`, 400, ""},
	{"selector", "GET", configMaps + "?labelSelector=a%20in%20((", "", "", 400, ""},
	{"field selector", "GET", configMaps + "?fieldSelector=spec.color%3Dred", "", "", 400, ""},
	{"limit", "GET", configMaps + "?limit=many", "", "", 400, ""},
	{"continue", "GET", configMaps + "?limit=1&continue=!", "", "", 400, ""},
	{"resourceVersion", "GET", configMaps + "?resourceVersion=new", "", "", 400, ""},
}

// TestNonsense sends what no client should. Each gets an error that says what is wrong,
// and all of them together cost the server nothing that lasts.
func TestNonsense(t *testing.T) {
	s := start(t, t.TempDir())
	client, err := rest.HTTPClientFor(s.admin)
	if err != nil {
		t.Fatal(err)
	}
	victim := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "victim"}}
	if _, err := s.client().CoreV1().ConfigMaps("default").Create(t.Context(), victim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before := s.resident()
	for _, c := range bodies {
		t.Run(c.name, func(t *testing.T) {
			for range 3 {
				c.try(t, client, s.admin.Host)
			}
		})
	}
	s.alive()
	if after := s.resident(); after > before+200 {
		t.Errorf("the server went from %d to %d MiB", before, after)
	}
}

// try sends it, and wants a Status that fits.
func (c nonsense) try(t *testing.T, client *http.Client, host string) {
	request, err := http.NewRequestWithContext(t.Context(), c.method, host+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", c.contentType)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if c.want == 0 { // whether it is accepted is a matter of taste; that it is answered isn't
		if response.StatusCode >= 500 {
			t.Errorf("%d %s", response.StatusCode, body)
		}
		return
	}
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err != nil || status.Kind != "Status" {
		t.Errorf("%d, and no Status: %.200s", response.StatusCode, body)
	}
	if response.StatusCode != c.want || int(status.Code) != c.want || !strings.Contains(status.Message, c.says) {
		t.Errorf("%d %.300s; want %d and %q", response.StatusCode, status.Message, c.want, c.says)
	}
}

// TestCompressedBody: upstream doesn't unpack bodies, so a bomb of zeros is just bytes
// that are no object.
func TestCompressedBody(t *testing.T) {
	s := start(t, t.TempDir())
	client, err := rest.HTTPClientFor(s.admin)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(make([]byte, 256<<20))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	request, _ := http.NewRequestWithContext(t.Context(), "POST", s.admin.Host+configMaps, &packed)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("%s", response.Status)
	}
	s.alive()
}
