// Package labtest gives a Go test a whole cluster: an API server on etcd, controllers,
// nodes whose Pods have real network namespaces, service proxies and cluster DNS.
//
//	func TestMyController(t *testing.T) {
//		cluster := labtest.Start(t)
//		client := kubernetes.NewForConfigOrDie(cluster.Config)
//		…
//	}
//
// It needs neither root nor Docker, downloads nothing, and goes away with the test,
// however that ends. Tests may run several side by side.
//
// Upstream counterpart: controller-runtime's envtest, which has an API server but no
// nodes, no Pods that run and no packets.
//
// The cluster runs in a child process, which is the test binary itself run again:
// the package's init takes over in it. That is why importing it is enough.
package labtest

import (
	"os"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/lab"
)

func init() { lab.RunIfChild() }

// Option changes the cluster that Start makes.
type Option func(*lab.Config)

// Nodes sets the number of nodes; without it there is one.
func Nodes(n int) Option { return func(c *lab.Config) { c.Nodes = n } }

// DualStack gives everything addresses of IPv6 as well.
func DualStack() Option { return func(c *lab.Config) { c.IPFamily = lab.Dual } }

// FakeNodes adds nodes that are only simulated: see package fake.
func FakeNodes(n int) Option { return func(c *lab.Config) { c.FakeNodes = n } }

// Cluster is a running cluster.
type Cluster struct {
	Config     *rest.Config // the administrator's access
	Kubeconfig string       // the same as a file, for programs
	state      lab.State
}

// Start makes a cluster and returns when its nodes are Ready, its DNS answers and its
// Services work. It ends with the test. Where this user may not make namespaces, the
// test is skipped with the reason, except in CI (the environment variable CI is set),
// where it fails.
func Start(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	config := lab.Defaults()
	config.Nodes, config.APIPort, config.NoFsync = 1, 0, true
	config.State = lab.State{Name: "labtest", Dir: t.TempDir()}
	for _, o := range options {
		o(&config)
	}
	process, err := lab.Spawn(config, lab.SpawnOptions{Tied: true})
	if err != nil {
		if lab.IsPermission(err) && os.Getenv("CI") == "" {
			t.Skipf("this user may not make a cluster: %v", err)
		}
		log, _ := os.ReadFile(config.State.LogFile())
		t.Fatalf("start a cluster: %v\n%s", err, log)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(config.State.LogFile())
			t.Logf("the cluster's log ends with:\n%s", lastLines(string(log), 40))
		}
		if err := process.Stop(); err != nil {
			t.Errorf("stop the cluster: %v", err)
		}
	})
	restConfig, err := clientcmd.BuildConfigFromFlags("", config.State.Kubeconfig())
	if err != nil {
		t.Fatalf("read the cluster's kubeconfig: %v", err)
	}
	restConfig.QPS = -1
	return &Cluster{Config: restConfig, Kubeconfig: config.State.Kubeconfig(), state: config.State}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
