// Package conformance drives the real API server with real kubectl binaries of two
// releases, an old and the newest one, as their users would: each story in testdata
// is a script of commands with what they must print.
//
// No node and no controller runs here. What is tested is the wire: negotiation,
// discovery, tables, patches, watches, errors, all as kubectl understands them.
package conformance

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"orrery.example.org/apiserver"
	"orrery.example.org/apiserver/etcd"
	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// releases are the versions of kubectl, by the folder that builds them.
var releases = map[string]string{"1.32": "v1.32.3", "1.37": "v1.37.2"}

func TestKubectl(t *testing.T) {
	for minor, version := range releases {
		t.Run(minor, func(t *testing.T) {
			bin := buildKubectl(t, minor, version)
			testscript.Run(t, testscript.Params{
				Dir:                 "testdata",
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Setup:               func(env *testscript.Env) error { return setUp(t, env, bin) },
				Cmds:                map[string]func(*testscript.TestScript, bool, []string){"await": await},
				Condition:           func(c string) (bool, error) { return c == minor, known(c) },
			})
		})
	}
}

// known rejects a condition that is none of the releases.
func known(condition string) error {
	if _, ok := releases[condition]; !ok {
		return fmt.Errorf("unknown condition [%s]", condition)
	}
	return nil
}

// setUp gives a story an API server of its own, and a home where kubectl finds it.
func setUp(t *testing.T, env *testscript.Env, bin string) error {
	kubeconfig := filepath.Join(env.WorkDir, "kubeconfig")
	stop, err := startServer(env.WorkDir, kubeconfig)
	if err != nil {
		return err
	}
	env.Defer(func() {
		if err := stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("KUBECONFIG", kubeconfig)
	env.Setenv("KUBECACHEDIR", filepath.Join(env.WorkDir, ".cache"))
	return nil
}

// startServer runs an API server with its data in dir, and writes the administrator's
// kubeconfig.
func startServer(dir, kubeconfig string) (stop func() error, err error) {
	ca, err := pki.NewCA("conformance")
	if err != nil {
		return nil, err
	}
	var here *host.Host
	listener, err := here.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	loopback := net.IPv4(127, 0, 0, 1)
	log := &syncBuffer{}
	cfg := apiserver.Defaults()
	cfg.BindAddress, cfg.Listeners = "", []net.Listener{listener}
	cfg.AdvertiseAddress = "172.30.0.2:6443" // a cluster's; nobody calls it here
	cfg.Etcd = etcd.Config{DataDir: filepath.Join(dir, ".etcd"), UnsafeNoFsync: true}
	cfg.CA = ca
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	cfg.AuthorizationMode = []string{"Node", "RBAC"}
	cfg.DisableAdmissionPlugins = []string{"ServiceAccount"} // no controller makes accounts
	if cfg.Serving, err = ca.Issue(pki.Request{User: "kube-apiserver", IPs: []net.IP{loopback}}); err != nil {
		return nil, err
	}
	if cfg.KubeletClient, err = ca.Issue(pki.APIServerClient); err != nil {
		return nil, err
	}
	admin, err := ca.Issue(pki.Admin)
	if err != nil {
		return nil, err
	}
	if err := pki.WriteKubeconfig(kubeconfig, "conformance", pki.ClientConfig("https://"+listener.Addr().String(), ca, admin)); err != nil {
		return nil, err
	}
	server, err := apiserver.New(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	select {
	case <-server.Ready():
		return func() error { cancel(); return <-done }, nil
	case err := <-done:
		cancel()
		return nil, fmt.Errorf("the API server did not get ready: %w\n%s", err, log)
	}
}

// await waits until a file matches a pattern: what a command in the background has
// printed so far.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await PATTERN FILE")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var text []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, _ = os.ReadFile(ts.MkAbs(args[1])) // not there yet
		if pattern.Match(text) {
			return
		}
	}
	ts.Fatalf("%s never matched %s:\n%s", args[1], args[0], text)
}

// syncBuffer keeps the server's log for when it is needed.
type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(b.Buffer.String())
}
