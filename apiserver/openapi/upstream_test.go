package openapi

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find the sources of %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// TestLikeUpstream compares with a description of a real API server that kubectl's
// tests carry. It is from an older release: fields are added since, few are changed.
func TestLikeUpstream(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(moduleDir(t, "k8s.io/kubectl"), "testdata/openapi/swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	var upstream spec.Swagger
	if err := json.Unmarshal(data, &upstream); err != nil {
		t.Fatal(err)
	}
	ours := all(t)
	t.Run("paths", func(t *testing.T) { comparePaths(t, ours, &upstream) })
	t.Run("definitions", func(t *testing.T) { compareDefinitions(t, ours, &upstream) })
}

func comparePaths(t *testing.T, ours, upstream *spec.Swagger) {
	compared := 0
	for path, item := range ours.Paths.Paths {
		for _, method := range []string{"Get", "Put", "Post", "Patch", "Delete"} {
			op := func(i spec.PathItem) *spec.Operation {
				return reflect.ValueOf(i.PathItemProps).FieldByName(method).Interface().(*spec.Operation)
			}
			got, want := op(item), op(upstream.Paths.Paths[path])
			if got == nil || want == nil || strings.HasSuffix(path, "/eviction") || strings.HasSuffix(path, "/ephemeralcontainers") { // of other kinds then
				continue
			}
			compared++
			if diff := cmp.Diff(facts(want), facts(got)); diff != "" {
				t.Errorf("%s %s (-upstream +ours):\n%s", method, path, diff)
			}
		}
	}
	if compared < 100 {
		t.Errorf("only %d operations have a counterpart", compared)
	}
}

// facts are what must be the same in all releases.
func facts(op *spec.Operation) map[string]any {
	return map[string]any{
		"id": op.ID, "description": op.Description, "tags": op.Tags, "produces": op.Produces,
		"action": op.Extensions["x-kubernetes-action"], "kind": op.Extensions["x-kubernetes-group-version-kind"],
	}
}

// changed lists the fields that later releases changed.
var changed = []string{
	"io.k8s.api.core.v1.EphemeralContainer.ports",
	"io.k8s.api.core.v1.Lifecycle.postStart",
	"io.k8s.api.core.v1.Lifecycle.preStop",
	"io.k8s.api.core.v1.PersistentVolumeClaimSpec.resources",
	"io.k8s.api.networking.v1.IngressClassSpec.parameters",
	"io.k8s.api.networking.v1.IngressStatus.loadBalancer",
	"io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement.key",
}

// removed lists the fields that later releases have no more.
var removed = []string{
	"io.k8s.api.core.v1.EphemeralVolumeSource.readOnly",
	"io.k8s.api.core.v1.ServiceSpec.topologyKeys",
	"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta.clusterName",
}

func compareDefinitions(t *testing.T, ours, upstream *spec.Swagger) {
	compared := 0
	for name, want := range upstream.Definitions {
		got, ok := ours.Definitions[name]
		if !ok {
			continue
		}
		if !slices.Equal(got.Type, want.Type) || got.Format != want.Format || (got.Description == "") && want.Description != "" {
			t.Errorf("%s is %v %s %q", name, got.Type, got.Format, got.Description)
		}
		for field, want := range want.Properties {
			compared++
			got, ok := got.Properties[field]
			switch path := name + "." + field; {
			case !ok && slices.Contains(removed, path), slices.Contains(changed, path):
			case !ok:
				t.Errorf("%s is missing", path)
			default:
				if diff := cmp.Diff(shape(want), shape(got)); diff != "" {
					t.Errorf("%s (-upstream +ours):\n%s", path, diff)
				}
			}
		}
	}
	if compared < 800 {
		t.Errorf("only %d fields have a counterpart", compared)
	}
}

// shape is what a field's JSON looks like and how kubectl merges it.
func shape(s spec.Schema) map[string]any {
	m := map[string]any{"type": s.Type, "format": s.Format, "ref": s.Ref.String(),
		"strategy": s.Extensions["x-kubernetes-patch-strategy"], "key": s.Extensions["x-kubernetes-patch-merge-key"]}
	if s.Items != nil {
		m["items"] = shape(*s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		m["values"] = shape(*s.AdditionalProperties.Schema)
	}
	return m
}

// TestRequired reads from the sources of k8s.io/api which fields its comments require.
func TestRequired(t *testing.T) {
	fromComments := map[string]bool{}
	for _, group := range []string{"core", "apps", "authentication", "autoscaling", "batch", "coordination", "discovery",
		"events", "networking", "policy", "rbac", "scheduling", "storage"} {
		file := filepath.Join(moduleDir(t, "k8s.io/api"), group, "v1/types.go")
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			if n, ok := n.(*ast.TypeSpec); ok {
				if s, ok := n.Type.(*ast.StructType); ok {
					readMarkers(group+".v1."+n.Name.Name, s, fromComments)
				}
			}
			return true
		})
	}
	if diff := cmp.Diff(fromComments, required); diff != "" {
		t.Errorf("required (-sources +table):\n%s", diff)
	}
}

var marker = regexp.MustCompile(`(?m)^\s*//\s*\+(optional|required)$`)

// readMarkers notes the fields whose comment says other than their json tag.
func readMarkers(name string, s *ast.StructType, into map[string]bool) {
	for _, f := range s.Fields.List {
		if f.Doc == nil || f.Tag == nil {
			continue
		}
		var text strings.Builder
		for _, c := range f.Doc.List {
			text.WriteString(c.Text + "\n")
		}
		field, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		m := marker.FindStringSubmatch(text.String())
		if m == nil || field == "" {
			continue
		}
		if omitted := strings.Contains(options, "omit"); omitted == (m[1] == "required") {
			into[name+"."+field] = m[1] == "required"
		}
	}
}
