package lab

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/pki"
)

func TestKubeconfigOfTheLabIsRefusedOutside(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	write := func(mark bool) string {
		path := filepath.Join(t.TempDir(), "kubeconfig.lab")
		if err := pki.WriteKubeconfig(path, "school", &rest.Config{Host: "https://172.30.0.2:6443"}); err != nil {
			t.Fatal(err)
		}
		if mark {
			if err := markInside(path, "school"); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	check := func(path string, change func(*inside)) error {
		config, err := clientcmd.LoadFromFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			rewrite(t, config.Clusters["school"].Extensions, change)
		}
		return CheckNetwork(config.Clusters["school"])
	}
	if err := check(write(false), nil); err != nil {
		t.Errorf("any other kubeconfig: %v", err)
	}
	marked := write(true)
	err := check(marked, nil)
	want := `https://172.30.0.2:6443 is an address inside of the lab "school", and this program runs outside of it: on this machine use /state/orrery/school/kubeconfig`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("outside: %v", err)
	}
	if err := check(marked, func(n *inside) { n.NotFrom = "net:[1]" }); err != nil {
		t.Errorf("in another network namespace: %v", err)
	}
	if _, err := clientcmd.BuildConfigFromFlags("", marked); err != nil {
		t.Errorf("client-go cannot read it: %v", err)
	}
	if err := CheckNetwork(nil); err != nil {
		t.Error(err)
	}
}

// rewrite changes what the extension says.
func rewrite(t *testing.T, extensions map[string]runtime.Object, change func(*inside)) {
	t.Helper()
	unknown := extensions[insideExtension].(*runtime.Unknown)
	var note inside
	if err := json.Unmarshal(unknown.Raw, &note); err != nil {
		t.Fatal(err)
	}
	change(&note)
	var err error
	if unknown.Raw, err = json.Marshal(note); err != nil {
		t.Fatal(err)
	}
}
