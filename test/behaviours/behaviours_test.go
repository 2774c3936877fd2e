// Package behaviours holds docs/behaviours.md against the tests of the repository: each
// promise has a test whose name begins with its number, and those about packets one in
// kernels and one by the evaluator. `go test -v` lists them.
package behaviours

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// Where tests with real kernels and those by the evaluator are. The scenarios are both's.
const (
	scenarios = "proxy/flowtest/scenarios.go"
	inKernels = "proxy/flowtest/ proxy/mode_test.go proxy/proxy_test.go proxy/faults_test.go proxy/iptables/forward_test.go"
	evaluator = "proxy/packet/ proxy/trace/"
)

// onlyInKernels are promises about packets that no single packet shows.
var onlyInKernels = []string{"P36", "P39", "P40"}

func TestEachPromiseHasItsTest(t *testing.T) {
	tests := testsByNumber(t)
	for _, p := range promises(t) {
		found := tests[p.number]
		t.Logf("%s %s", p.number, p.text)
		for _, f := range found {
			t.Logf("      %s", f)
		}
		switch in := func(folders string) bool { return slices.ContainsFunc(found, within(folders)) }; {
		case len(found) == 0:
			t.Errorf("%s has no test: %s", p.number, p.text)
		case p.by == "packets" && !in(inKernels):
			t.Errorf("%s is about packets and has no test with real ones: %s", p.number, p.text)
		case p.by == "packets" && !in(scenarios+" "+evaluator) && !slices.Contains(onlyInKernels, p.number):
			t.Errorf("%s is about packets and has no test of the evaluator: %s", p.number, p.text)
		}
		delete(tests, p.number)
	}
	for number, found := range tests {
		t.Errorf("docs/behaviours.md does not know %s, which these tests name: %v", number, found)
	}
}

// within tells whether a test is in one of some folders or files.
func within(places string) func(string) bool {
	return func(test string) bool {
		return slices.ContainsFunc(strings.Fields(places), func(place string) bool { return strings.HasPrefix(test, place) })
	}
}

type promise struct{ number, text, by string }

var row = regexp.MustCompile(`(?m)^\| (P\d+) \| (.*) \| (packets|objects|rules|ports) \|$`)

// promises are the rows of the page: P1 to P53, in order.
func promises(t *testing.T) []promise {
	page, err := os.ReadFile(filepath.Join(root, "docs/behaviours.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []promise
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		all = append(all, promise{m[1], m[2], m[3]})
		if want := "P" + strconv.Itoa(len(all)); m[1] != want {
			t.Fatalf("the page has %s where %s should be", m[1], want)
		}
	}
	if len(all) != 53 {
		t.Fatalf("the page has %d rows, not 53", len(all))
	}
	return all
}

// testsByNumber finds the tests that bear numbers: functions, and the names of subtests.
func testsByNumber(t *testing.T) map[string][]string {
	all := map[string][]string{}
	note := func(path, name string, numbers []string) {
		for _, n := range numbers {
			all[n] = append(all[n], path+": "+name)
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, _ = filepath.Rel(root, path)
		if d.IsDir() && (path == "test/behaviours" || d.Name() == ".git" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, "proxy/flowtest/") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if name, isTest := strings.CutPrefix(n.Name.Name, "Test"); isTest {
					note(path, n.Name.Name, inFunction(name))
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
					note(path, text, inText(text))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var leading = regexp.MustCompile(`^P\d+`)

// inFunction are the numbers that the name of a test begins with, after "Test".
func inFunction(name string) (numbers []string) {
	for n := leading.FindString(name); n != ""; n = leading.FindString(name) {
		numbers, name = append(numbers, n), name[len(n):]
	}
	return numbers
}

// inText are the numbers that the name of a subtest begins with.
func inText(name string) (numbers []string) {
	for word := range strings.FieldsSeq(name) {
		if leading.FindString(word) != word {
			break
		}
		numbers = append(numbers, word)
	}
	return numbers
}

func TestNames(t *testing.T) {
	for name, want := range map[string]int{"P8Shares": 1, "P2P45FirstFull": 2, "Ports": 0, "ProxyP8": 0} {
		if got := inFunction(name); len(got) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, want := range map[string]int{"P14 P18 external": 2, "P8": 1, "P45.*": 0, "no P8": 0} {
		if got := inText(name); len(got) != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
