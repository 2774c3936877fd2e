package openapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEnums reads the values of the enumerations in the sources of k8s.io/api and compares.
func TestEnums(t *testing.T) {
	if diff := cmp.Diff(enumsOfSources(t), enums); diff != "" {
		t.Errorf("enums (-sources +table):\n%s", diff)
	}
}

var enumMarker = regexp.MustCompile(`(?m)^//\s*\+enum$`)

// enumsOfSources finds the types marked as enumerations and the constants of each.
func enumsOfSources(t *testing.T) map[string][]string {
	found := map[string][]string{}
	for _, group := range []string{"core", "apps", "authentication", "authorization", "autoscaling", "batch", "certificates", "coordination",
		"discovery", "events", "networking", "policy", "rbac", "scheduling", "storage"} {
		dir := filepath.Join(moduleDir(t, "k8s.io/api"), group, "v1")
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		marked, values := map[string]bool{}, map[string][]string{}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".go") {
				continue
			}
			syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f.Name()), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range syntax.Decls {
				if d, ok := d.(*ast.GenDecl); ok {
					readEnums(d, marked, values)
				}
			}
		}
		for name := range marked {
			if len(values[name]) == 0 {
				continue // another name of a type
			}
			slices.Sort(values[name])
			found[group+".v1."+name] = values[name]
		}
	}
	return found
}

func readEnums(d *ast.GenDecl, marked map[string]bool, values map[string][]string) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			for _, c := range []*ast.CommentGroup{d.Doc, s.Doc} {
				if c != nil && slices.ContainsFunc(c.List, func(c *ast.Comment) bool { return enumMarker.MatchString(c.Text) }) {
					marked[s.Name.Name] = true
				}
			}
		case *ast.ValueSpec:
			name, ok := s.Type.(*ast.Ident)
			if !ok || d.Tok != token.CONST {
				continue
			}
			for _, v := range s.Values {
				if text, ok := v.(*ast.BasicLit); ok && text.Kind == token.STRING {
					value, _ := strconv.Unquote(text.Value)
					values[name.Name] = append(values[name.Name], value)
				}
			}
		}
	}
}
