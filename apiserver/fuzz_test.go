package apiserver

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/api"
)

// kindNamed is a row of the table.
func kindNamed(t testing.TB, name string) *resource {
	t.Helper()
	for _, k := range api.Table {
		if k.Resource == name {
			return &resource{kind: k, version: k.Storage()}
		}
	}
	t.Fatalf("no %s in the table", name)
	return nil
}

// clientsFault fails the test unless the error is one that tells a client what he did.
func clientsFault(t *testing.T, err error) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Fatalf("no API error: %v", err)
	}
	if code := status.Status().Code; code < 400 || code >= 500 {
		t.Fatalf("%d %v", code, err)
	}
}

// FuzzPatch: whatever the patch, what comes out is an object or a client's error.
func FuzzPatch(f *testing.F) {
	res := kindNamed(f, "pods")
	before := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
	}
	kinds := []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType}
	for i, seed := range []string{
		`[{"op":"replace","path":"/metadata/labels/a","value":"c"}]`,
		`[{"op":"move","from":"/spec/containers/0","path":"/spec/initContainers"}]`,
		`[{"op":"copy","from":"","path":"/spec/x"}]`,
		`{"metadata":{"labels":null}}`,
		`{"spec":{"containers":[{"name":"web","$patch":"delete"}]}}`,
		`{"spec":{"containers":[{"name":"new"}],"$setElementOrder/containers":[{"name":"new"},{"name":"web"}]}}`,
		`{"spec":{"$retainKeys":["containers"],"$deleteFromPrimitiveList/finalizers":["x"]}}`,
		`null`, `[]`, `{"spec":7}`,
	} {
		f.Add(uint8(i%len(kinds)), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, kind uint8, patch []byte) {
		c := &call{resource: res, view: view{body: res.version}, w: httptest.NewRecorder()}
		of := kinds[int(kind)%len(kinds)]
		strict, err := checkPatch(of, patch, metav1.FieldValidationStrict)
		if err == nil {
			_, err = c.patched(of, before, patch, strict, metav1.FieldValidationStrict)
		}
		if err != nil {
			clientsFault(t, err)
		}
	})
}

// FuzzBody reads bodies in all serializations.
func FuzzBody(f *testing.F) {
	res := kindNamed(f, "services")
	f.Add(uint8(0), []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}]}}`))
	f.Add(uint8(1), []byte("apiVersion: v1\nkind: Service\nmetadata: {name: web, name: x}\nspec: &a {x: *a}\n"))
	f.Add(uint8(2), []byte("k8s\x00\n\r\n\x02v1\x12\x07Service\x12\x07\n\x05\n\x03web"))
	f.Fuzz(func(t *testing.T, serialization uint8, body []byte) {
		media := []media{jsonMedia, yamlMedia, protobufMedia}[int(serialization)%3]
		c := &call{resource: res, w: httptest.NewRecorder()}
		o, err := c.decode(body, media, res.version, metav1.FieldValidationWarn)
		if err != nil {
			clientsFault(t, err)
			return
		}
		res.kind.SetDefaults(o) // what is decoded must be fit for what comes next
		res.kind.PrepareForCreate(o)
		_ = res.kind.CheckCreate(o)
	})
}

// FuzzSelectors: a selector is understood, or refused.
func FuzzSelectors(f *testing.F) {
	res := kindNamed(f, "pods")
	f.Add("a in (b,c),!d", "spec.nodeName=node1,metadata.name!=x")
	f.Add("a=b,a==c,d notin ()", `status.phase=a\,b`)
	f.Fuzz(func(t *testing.T, labels, fields string) {
		m, err := newMatcher(res, labels, fields)
		if err != nil {
			clientsFault(t, err)
			return
		}
		m.matches(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{"a": "b"}}})
	})
}

// FuzzOptions reads queries as options of every verb.
func FuzzOptions(f *testing.F) {
	res := kindNamed(f, "pods")
	f.Add("limit=5&continue=abc&resourceVersionMatch=Exact&resourceVersion=7&timeoutSeconds=1")
	f.Add("dryRun=All&fieldValidation=Strict&fieldManager=x&force=true&gracePeriodSeconds=-1&propagationPolicy=Orphan")
	f.Add("watch=1&sendInitialEvents=true&allowWatchBookmarks=yes&pretty=%zz;a=b")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
		r.URL.RawQuery = query
		c := &call{resource: res, r: r, w: httptest.NewRecorder()}
		for _, read := range []func() error{
			func() error { _, err := c.listOptions(false); return err },
			func() error { _, err := c.listOptions(true); return err },
			func() error { _, err := c.createOptions(); return err },
			func() error { _, err := c.updateOptions(); return err },
			func() error { _, err := c.patchOptions(types.ApplyYAMLPatchType); return err },
			func() error { _, err := c.deleteOptions(); return err },
		} {
			if err := read(); err != nil {
				clientsFault(t, err)
			}
		}
	})
}
