package conformance

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// buildKubectl builds a release of kubectl and returns the folder it is in. The binary
// is kept in the user's cache, under the hash of what it is made from.
func buildKubectl(t *testing.T, minor, version string) string {
	t.Helper()
	module := "kubectl-" + minor
	sum := sha256.New()
	fmt.Fprintln(sum, version, runtime.Version())
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "orrery", fmt.Sprintf("%s-%x", module, sum.Sum(nil)[:8]))
	if _, err := os.Stat(filepath.Join(dir, "kubectl")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(dir, fmt.Sprintf("kubectl.%d", os.Getpid()))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", unfinished,
		"-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion="+version+" -X k8s.io/client-go/pkg/version.gitVersion="+version, ".")
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build kubectl %s: %v\n%s", version, err, out)
	}
	if err := os.Rename(unfinished, filepath.Join(dir, "kubectl")); err != nil {
		t.Fatal(err)
	}
	return dir
}
