package store

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"orrery.example.org/api"
)

// upstreamProtobuf is the serializer that kube-apiserver stores with.
var upstreamProtobuf = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)

func TestCodecIsUpstreams(t *testing.T) {
	cm := configMap("default", "a", strings.Repeat("long ", 1000))
	cm.ResourceVersion = "7"
	ours, err := codec{configMaps}.encode(cm)
	if err != nil {
		t.Fatal(err)
	}
	if cm.ResourceVersion != "7" || cm.Kind != "" {
		t.Errorf("encoding changed the object: %v", cm)
	}
	typed := cm.DeepCopy()
	typed.ResourceVersion = ""
	typed.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	var theirs bytes.Buffer
	if err := upstreamProtobuf.Encode(typed, &theirs); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs.Bytes()) {
		t.Errorf("ours %q\ntheirs %q", ours, theirs.Bytes())
	}
	back, err := codec{configMaps}.decode(ours)
	if err != nil || back.(*corev1.ConfigMap).Data["value"] != cm.Data["value"] {
		t.Errorf("decoded: %v, %v", back, err)
	}
	if _, err := (codec{nodes}).decode(ours); err == nil || !strings.Contains(err.Error(), "ConfigMap") {
		t.Errorf("a ConfigMap decoded as a Node: %v", err)
	}
}

func TestCodecReadsJSON(t *testing.T) {
	obj, err := codec{configMaps}.decode([]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"value":"1"}}`))
	if err != nil || obj.GetName() != "a" || obj.(*corev1.ConfigMap).Kind != "" {
		t.Errorf("%v, %v", obj, err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := codec{configMaps}.encode(configMap("default", "a", "1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"apiVersion":"v1","kind":"ConfigMap"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, err := codec{configMaps}.decode(data)
		if err == nil && obj == nil {
			t.Error("neither object nor error")
		}
	})
}

func FuzzContinueToken(f *testing.F) {
	f.Add(after("default/web", 12).String())
	f.Add("bm90IGpzb24")
	f.Add(continueToken{Revision: -1, Start: "../../etc"}.String())
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseContinue(text)
		if err != nil {
			if !apierrors.IsBadRequest(err) {
				t.Errorf("%q: %v is not a 400", text, err)
			}
			return
		}
		again, err := parseContinue(token.String())
		if err != nil || again.Revision != token.Revision || again.Start != token.Start {
			t.Errorf("%q: %v became %v, %v", text, token, again, err)
		}
		if strings.HasPrefix(token.Start, "../") || token.Revision == 0 {
			t.Errorf("%q was accepted: %v", text, token)
		}
	})
}

func FuzzRoute(f *testing.F) {
	s := New(nil, "/registry/", []*api.Kind{configMaps, nodes, pods}, quiet)
	for _, key := range []string{"configmaps/default/a", "nodes/n1", "nodes", "", "a/b/c", "claims/ip/1", "/", "configmaps//"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		c, key := s.route(rest)
		if c != nil && c.prefix+key != rest {
			t.Errorf("%q became %q and %q", rest, c.prefix, key)
		}
	})
}

func TestResourcePrefix(t *testing.T) {
	kind := func(group, resource string) *api.Kind {
		k := &api.Kind{Resource: resource, Versions: []api.Version{{}}}
		k.Versions[0].Group = group
		k.Versions[0].NewList = func() runtime.Object { return nil } // it is stored
		return k
	}
	for _, test := range []struct{ group, resource, want string }{
		{"", "pods", "pods/"},
		{"apps", "deployments", "deployments/"},
		{"discovery.k8s.io", "endpointslices", "endpointslices/"},
		{"example.org", "widgets", "example.org/widgets/"},
	} {
		k := kind(test.group, test.resource)
		if got := resourcePrefix(k); got != test.want {
			t.Errorf("%s in %q: %s, want %s", test.resource, test.group, got, test.want)
		}
		s := New(nil, "/registry/", []*api.Kind{k}, quiet)
		if c, key := s.route(test.want + "ns/name"); c != s.Collection(k) || key != "ns/name" {
			t.Errorf("%sns/name leads to %v, %q", test.want, c, key)
		}
	}
}
