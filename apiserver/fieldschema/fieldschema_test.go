package fieldschema

import (
	"bytes"
	"encoding/gob"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

var update = flag.Bool("update", false, "write schema.gob anew")

// TestCopy compares the copy with client-go's schema.
func TestCopy(t *testing.T) {
	sample := &corev1.Namespace{}
	sample.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	v, err := applyconfigurations.NewTypeConverter(scheme.Scheme).ObjectToTyped(sample)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		var data bytes.Buffer
		if err := gob.NewEncoder(&data).Encode(v.Schema()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("schema.gob", data.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(v.Schema().Types) < 500 {
		t.Fatalf("client-go's schema has %d types only", len(v.Schema().Types))
	}
	unexported := cmpopts.IgnoreUnexported(schema.Schema{}, schema.Map{})
	if diff := cmp.Diff(v.Schema(), &Parser().Schema, unexported); diff != "" {
		t.Errorf("the copy differs from client-go's (-theirs +ours): run go generate ./apiserver/fieldschema\n%s", diff)
	}
}
