package apiserver

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"orrery.example.org/apiserver/auth"
	"orrery.example.org/pki"
)

// moody allows, refuses or panics, as the name of what is asked for says.
type moody struct{}

func (moody) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	switch a.Name {
	case "panic":
		panic("told to")
	case "refuse":
		return false, "told to", nil
	}
	return true, "", nil
}

func TestPanic(t *testing.T) {
	c := start(t, func(c *Config) {
		c.Authorizer = moody{}
		c.Log = slog.New(slog.DiscardHandler)
	})
	cfg := rest.CopyConfig(c.admin)
	cfg.NextProtos = []string{"http/1.1"} // where a panic could take the connection with it
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	reused := false
	get := func(path string) (int, metav1.Status) {
		t.Helper()
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", c.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		var s metav1.Status
		if err := json.Unmarshal(body, &s); err != nil {
			s.Message = string(body)
		}
		return resp.StatusCode, s
	}
	if code, s := get(configMaps + "/panic"); code != 500 || !strings.Contains(s.Message, "panic") {
		t.Errorf("%d %+v", code, s)
	}
	code, s := get(configMaps + "/refuse")
	want := `configmaps "refuse" is forbidden: User "kubernetes-admin" cannot get resource "configmaps" in API group "" in the namespace "default": told to`
	if code != 403 || s.Message != want || s.Reason != metav1.StatusReasonForbidden {
		t.Errorf("%d %+v", code, s)
	}
	if !reused {
		t.Error("the panic closed the connection")
	}
}

// TestForeignCertificate: whom our CA doesn't know is not let in, and is told so.
func TestForeignCertificate(t *testing.T) {
	c := start(t, func(c *Config) { c.Log = slog.New(slog.DiscardHandler) })
	theirs, err := pki.NewCA("theirs")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := theirs.Issue(pki.Admin)
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.CopyConfig(c.admin)
	cfg.CertData, cfg.KeyData = pair.Cert, pair.Key
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, body := c.call(client, "GET", "/api/v1/namespaces", ""); code != 401 || !strings.Contains(body, `"reason":"Unauthorized"`) {
		t.Error(code, body)
	}
}

func TestHealth(t *testing.T) {
	c := start(t)
	for path, want := range map[string]string{
		"/readyz":                         "ok",
		"/readyz?verbose":                 "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]informer-sync ok\n[+]poststarthook/bootstrap ok\n[+]poststarthook/rbac/bootstrap-roles ok\n[+]shutdown ok\nreadyz check passed\n",
		"/livez?verbose&exclude=etcd":     "[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n[+]poststarthook/bootstrap ok\n[+]poststarthook/rbac/bootstrap-roles ok\nlivez check passed\n",
		"/readyz/etcd":                    "ok",
		"/healthz/ping":                   "ok",
		"/readyz/poststarthook/bootstrap": "ok",
	} {
		if code, _, body := c.call(c.http(), "GET", path, ""); code != 200 || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	_, _, body := c.call(c.http(), "GET", "/version", "")
	if !strings.Contains(body, `"gitVersion": "`+Version+`"`) || !strings.Contains(body, `"minor": "37"`) {
		t.Error(body)
	}
	c.call(c.http(), "GET", "/api/v1/gizmos", "")
	_, _, body = c.call(c.http(), "GET", "/metrics", "")
	if !strings.Contains(body, `apiserver_request_total{code="200",component="apiserver"`) || strings.Contains(body, "gizmos") {
		t.Error(body)
	}
}
