// Package architecture holds the tests that keep the house in shape: who may import
// whom, and where the machine may be touched (docs/architecture.md draws it).
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "orrery.example.org/"

// root is the repository, from this package.
const root = "../.."

// arrows says which of our own packages those below a folder may import. A folder
// may always import what is below it. The longest folder that matches decides.
var arrows = map[string][]string{
	"api":             {},
	"host":            {},
	"pki":             {},
	"apiserver":       {"api", "host", "pki"},
	"apiserver/store": {"api"},
	"apiserver/etcd":  {"host"},
	"controller":      {"api", "host", "pki"},
	"node":            {"api", "host", "pki"},
	"proxy":           {"api", "host", "pki"},
	"proxy/plan":      {},
	"proxy/trace":     {"proxy/plan", "proxy/packet", "proxy/iptables", "proxy/nftables", "proxy/ipvs"},
	"dns":             {"api", "host", "pki"},
	"lb":              {"api", "host", "pki"},
	"lb/plan":         {},
	"lab":             {"api", "host", "pki", "apiserver", "controller", "node", "proxy", "dns", "lb"},
	"ctl":             {"api", "host", "pki", "apiserver", "controller", "node", "proxy", "dns", "lb", "lab"},
}

// foreign says which folders alone may import a package of others.
var foreign = map[string][]string{
	"go.etcd.io/etcd/server/v3/embed": {"apiserver/etcd"},
	"go.etcd.io/etcd/client/v3":       {"apiserver/etcd", "apiserver/store"},
	"k8s.io/kubectl":                  {"ctl"},
	"k8s.io/kubernetes":               {},
	"k8s.io/apiserver":                {},
}

// seam lists the functions that reach for the machine past package host, and who may
// call them nevertheless.
var seam = map[string][]string{
	"net.Listen": {"host"}, "net.ListenPacket": {"host"}, "net.ListenTCP": {"host"}, "net.ListenUDP": {"host"},
	"net.Dial": {"host"}, "net.DialTimeout": {"host"}, "net.DialTCP": {"host"}, "net.DialUDP": {"host"},
	"exec.Command": {"host", "lab", "proxy/flowtest"}, "exec.CommandContext": {"host"},
}

// TestArrows reads the imports of every file that is not a test.
func TestArrows(t *testing.T) {
	eachFile(t, parser.ImportsOnly, func(folder, file string, f *ast.File) {
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if own, ok := strings.CutPrefix(path, module); ok {
				if !mayImport(folder, own) {
					t.Errorf("%s imports %s: %s may import %v", file, own, folder, allowed(folder))
				}
				continue
			}
			for prefix, folders := range foreign {
				if within(path, prefix) && !withinAny(folder, folders) {
					t.Errorf("%s imports %s, which only %v may", file, path, folders)
				}
			}
		}
	})
}

// TestAPIServerUsesOnlyTypesOfClientGo keeps clients out of the API server.
func TestAPIServerUsesOnlyTypesOfClientGo(t *testing.T) {
	eachFile(t, parser.ImportsOnly, func(folder, file string, f *ast.File) {
		if !within(folder, "apiserver") {
			return
		}
		for _, spec := range f.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if within(path, "k8s.io/client-go") && !within(path, "k8s.io/client-go/kubernetes/scheme") && !within(path, "k8s.io/client-go/applyconfigurations") {
				t.Errorf("%s imports %s", file, path)
			}
		}
	})
}

// TestSeam looks for calls that reach for the machine past package host.
func TestSeam(t *testing.T) {
	eachFile(t, 0, func(folder, file string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok || pkg.Obj != nil { // a variable of that name
				return true
			}
			if folders, ok := seam[pkg.Name+"."+sel.Sel.Name]; ok && !withinAny(folder, folders) {
				t.Errorf("%s uses %s.%s: go through the component's host.Host", file, pkg.Name, sel.Sel.Name)
			}
			return true
		})
	})
}

// TestEveryFolderHasArrows makes a new folder decide where it belongs.
func TestEveryFolderHasArrows(t *testing.T) {
	seen := map[string]bool{}
	eachFile(t, parser.ImportsOnly, func(folder, _ string, _ *ast.File) {
		top, _, _ := strings.Cut(folder, "/")
		if _, ok := arrows[top]; !ok && !seen[top] {
			seen[top] = true
			t.Errorf("folder %s has no row in arrows", top)
		}
	})
}

func mayImport(folder, own string) bool {
	return within(own, folder) || withinAny(own, allowed(folder)) || sameComponent(folder, own)
}

// sameComponent allows the packages of one component to import each other, unless
// the folder has a row of its own.
func sameComponent(folder, own string) bool {
	top, _, _ := strings.Cut(folder, "/")
	return row(folder) == top && within(own, top)
}

func allowed(folder string) []string { return arrows[row(folder)] }

// row is the longest folder with arrows that contains this one.
func row(folder string) string {
	for f := folder; f != "."; f = filepath.Dir(f) {
		if _, ok := arrows[f]; ok {
			return f
		}
	}
	return ""
}

func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func withinAny(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if within(path, p) {
			return true
		}
	}
	return false
}

// eachFile parses every Go file of the module that is not a test.
func eachFile(t *testing.T, mode parser.Mode, visit func(folder, file string, f *ast.File)) {
	t.Helper()
	count := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if folder == "test" || folder == "bin" || (folder != "." && strings.HasPrefix(d.Name(), ".")) || isModule(path) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
		if err != nil {
			return err
		}
		count++
		visit(filepath.Dir(folder), folder, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 50 {
		t.Fatalf("read %d files only: is the root right?", count)
	}
}

// isModule says whether a folder other than the root is a module of its own.
func isModule(path string) bool {
	if path == root {
		return false
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}
