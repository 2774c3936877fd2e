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
	known := map[string]string{} // the constants of core/v1, which others refer to
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
					readEnums(d, marked, values, known)
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

func readEnums(d *ast.GenDecl, marked map[string]bool, values map[string][]string, known map[string]string) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			for _, c := range []*ast.CommentGroup{d.Doc, s.Doc} {
				if c != nil && slices.ContainsFunc(c.List, func(c *ast.Comment) bool { return enumMarker.MatchString(c.Text) }) {
					marked[s.Name.Name] = true
				}
			}
		case *ast.ValueSpec:
			if d.Tok != token.CONST {
				continue
			}
			for i, v := range s.Values {
				kind, value := constant(s.Type, v, known)
				if kind != "" {
					values[kind] = append(values[kind], value)
					known[s.Names[i].Name] = value
				}
			}
		}
	}
}

// constant reads `Type = "value"`, `= Type("value")` and `= Type(v1.Name)`.
func constant(declared, v ast.Expr, known map[string]string) (kind, value string) {
	if call, ok := v.(*ast.CallExpr); ok && len(call.Args) == 1 {
		declared, v = call.Fun, call.Args[0]
	}
	name, ok := declared.(*ast.Ident)
	if !ok {
		return "", ""
	}
	switch v := v.(type) {
	case *ast.BasicLit:
		value, err := strconv.Unquote(v.Value)
		if v.Kind == token.STRING && err == nil {
			return name.Name, value
		}
	case *ast.SelectorExpr:
		if value, ok := known[v.Sel.Name]; ok {
			return name.Name, value
		}
	}
	return "", ""
}
