package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"orrery.example.org/apiserver"
	"orrery.example.org/controller"
	"orrery.example.org/dns"
	"orrery.example.org/lab"
	"orrery.example.org/lb"
	"orrery.example.org/node"
	"orrery.example.org/node/fake"
	"orrery.example.org/proxy"
)

type inner struct {
	Dir string `mapstructure:"dir"`
}

type sample struct {
	Name    string        `mapstructure:"name"`
	Period  time.Duration `mapstructure:"sync-period"`
	List    []string      `mapstructure:"list"`
	Nested  inner         `mapstructure:"nested"`
	Runtime any           `mapstructure:"-"`
}

func load(t *testing.T, defaults sample, file string, args ...string) (sample, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "test"}
	s := bind(cmd, defaults)
	if file != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	got := defaults
	return got, s.load(&got)
}

func TestPrecedence(t *testing.T) {
	defaults := sample{Name: "default", Period: time.Second, List: []string{"a"}}
	file := "name: file\nsync-period: 2s\nlist: [b, c]\nnested:\n  dir: file\n"

	expect := func(what string, want sample, file string, args ...string) {
		t.Helper()
		got, err := load(t, defaults, file, args...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	expect("nothing given", defaults, "")
	expect("a file", sample{Name: "file", Period: 2 * time.Second, List: []string{"b", "c"}, Nested: inner{"file"}}, file)
	t.Setenv("ORRERY_NESTED_DIR", "env")
	t.Setenv("ORRERY_SYNC_PERIOD", "3s")
	expect("the environment over a file", sample{Name: "file", Period: 3 * time.Second, List: []string{"b", "c"}, Nested: inner{"env"}}, file)
	expect("a flag over both", sample{Name: "flag", Period: 4 * time.Second, List: []string{"x", "y"}, Nested: inner{"flag"}}, file,
		"--name=flag", "--sync-period=4s", "--list=x,y", "--nested-dir=flag")
}

func TestMistakesInAFile(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"unknown key":        {"nmae: x\n", `unknown key "nmae" (there is name, nested.dir)`},
		"unknown nested key": {"nested: {path: x}\n", `unknown key "nested.path"`},
		"wrong type":         {"sync-period: soon\n", `sync-period`},
		"no YAML":            {"name: [\n", `read configuration`},
	} {
		if _, err := load(t, sample{}, c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not say %s", name, err, c.want)
		}
	}
}

// TestShippedConfigs loads every file of configs/ as its component does, with what is
// commented out switched on: so each key exists and shows its default.
func TestShippedConfigs(t *testing.T) {
	for file, defaults := range map[string]any{
		"lab.yaml":        lab.Defaults(),
		"apiserver.yaml":  apiServerConfig{Config: apiserver.Defaults()},
		"controller.yaml": controllerConfig{Config: controller.Defaults()},
		"proxy.yaml":      proxyConfig{Config: proxy.Defaults()},
		"node.yaml":       nodeConfig{Config: node.Defaults()},
		"fake-nodes.yaml": fakeConfig{Config: fake.Defaults()},
		"lb.yaml":         lbConfig{Config: lb.Defaults()},
		"dns.yaml":        dnsConfig{Config: dns.Defaults()},
	} {
		shipped, err := os.ReadFile(filepath.Join("..", "configs", file))
		if err != nil {
			t.Fatal(err)
		}
		asShipped := loadInto(t, file, defaults, string(shipped))
		allOn := loadInto(t, file, defaults, uncomment(string(shipped)))
		// As text: an empty list in a file is as good as none.
		if fmt.Sprint(asShipped) != fmt.Sprint(allOn) {
			t.Errorf("%s: what is commented out is not the default:\n%+v\n%+v", file, asShipped, allOn)
		}
	}
}

func loadInto(t *testing.T, name string, defaults any, text string) any {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{Use: "test"}
	s := bind(cmd, defaults)
	if err := cmd.ParseFlags([]string{"--config", path}); err != nil {
		t.Fatal(err)
	}
	into := reflect.New(reflect.TypeOf(defaults))
	into.Elem().Set(reflect.ValueOf(defaults))
	if err := s.load(into.Interface()); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	return into.Elem().Interface()
}

// uncomment switches on the lines that look like keys or rows of a list.
func uncomment(text string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		rest, commented := strings.CutPrefix(line, "#")
		trimmed := strings.TrimPrefix(rest, " ")
		key, _, isKey := strings.Cut(strings.TrimSpace(rest), ":")
		switch {
		case commented && strings.HasPrefix(trimmed, "- {"):
			out = append(out, trimmed)
		case commented && isKey && !strings.ContainsAny(key, " /"):
			if strings.HasPrefix(rest, "  ") {
				out = append(out, rest) // below a key that is on
			} else {
				out = append(out, trimmed)
			}
		default:
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
