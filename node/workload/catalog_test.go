package workload

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCheck(t *testing.T) {
	for _, row := range []struct {
		image Image
		want  string // in the error; "": it is good
	}{
		{Image{Name: "nginx", Workload: "nginx", ArgsRun: true}, ""},
		{Image{Name: "tree", Root: "/srv/tree"}, ""},
		{Image{Name: "tree", Root: "/srv/tree", Command: []string{"a"}, Args: []string{"b"}, Env: []string{"A=b=c", "B="}, WorkingDir: "/w", User: "web:www"}, ""},
		{Image{Name: "redis", Command: []string{"redis-server"}, Args: []string{"--port", "6380"}}, ""},
		{Image{Root: "/srv/tree"}, "name: it needs one"},
		{Image{Name: "x"}, "it needs a workload"},
		{Image{Name: "x", Entrypoint: "redis-server"}, "it needs a workload"},
		{Image{Name: "x", Workload: "nginx", Root: "/srv/tree"}, "for images without a workload"},
		{Image{Name: "x", Workload: "nginx", Args: []string{"a"}}, "for images without a workload"},
		{Image{Name: "x", Root: "/srv/tree", Shell: "sh"}, "for images with a workload"},
		{Image{Name: "x", Root: "srv/tree"}, `root "srv/tree" must be an absolute path`},
		{Image{Name: "x", Root: "/srv", WorkingDir: "w"}, `working-dir "w" must be an absolute path`},
		{Image{Name: "x", Root: "/srv", Env: []string{"A"}}, `env "A" must be NAME=value`},
		{Image{Name: "x", Root: "/srv", Env: []string{"=A"}}, `env "=A" must be NAME=value`},
		{Image{Name: "x", Command: []string{"a"}, User: "web"}, "user is for images with a root"},
	} {
		err := Check([]Image{{Name: "first", Workload: "echo"}, row.image})
		if row.want == "" && err != nil {
			t.Errorf("%+v: %v", row.image, err)
		}
		if row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "images[1]")) {
			t.Errorf("%+v: error %v, want %q", row.image, err, row.want)
		}
	}
	if err := Check(DefaultImages()); err != nil {
		t.Errorf("the shipped catalog: %v", err)
	}
}

// TestConfiguredPrograms looks at images with a command of their own: as in Kubernetes, a
// container's command replaces both of the image's, its args only the args.
func TestConfiguredPrograms(t *testing.T) {
	for _, row := range []struct{ command, args, ownCommand, ownArgs, want string }{
		{"server", "--port 80", "", "", "server --port 80"},
		{"server", "--port 80", "", "--port 81", "server --port 81"},
		{"server", "--port 80", "sh -c", "", "sh -c"},
		{"server", "--port 80", "sh -c", "true", "sh -c true"},
		{"", "bash", "", "", "bash"},
		{"", "bash", "", "ls /", "ls /"},
		{"", "", "", "", ""},
	} {
		image := Image{Name: "tree", Root: "/srv/tree", Command: strings.Fields(row.command), Args: strings.Fields(row.args)}
		spec := corev1.Container{Command: strings.Fields(row.ownCommand), Args: strings.Fields(row.ownArgs)}
		builtIn, argv := NewCatalog(nil).Program(image, spec)
		if got := strings.Join(argv, " "); got != row.want || builtIn != nil {
			t.Errorf("%+v: runs %q", row, got)
		}
	}
}

func TestRootDirectoriesMustBeThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := NewCatalog([]Image{{Name: "tree", Root: dir}, {Name: "gone", Root: dir + "/gone"}, {Name: "file", Root: file}})
	if image, err := c.Find("localhost:5000/tree:1"); err != nil || image.Root != dir {
		t.Errorf("%+v, %v", image, err)
	}
	for name, want := range map[string]string{
		"gone": `the root directory of image "gone" in this node's catalog: stat ` + dir + `/gone: no such file or directory`,
		"file": `the root directory of image "file" in this node's catalog: ` + file + ` is not a directory`,
	} {
		if _, err := c.Find(name); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
