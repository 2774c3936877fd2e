package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// TestServeForCrash isn't a test: TestCrash runs it in a process of its own.
func TestServeForCrash(t *testing.T) {
	dir := os.Getenv("ORRERY_CRASH_DIR")
	if dir == "" {
		t.Skip("run by TestCrash")
	}
	ca, err := pki.LoadOrCreateCA(dir, "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, ca: ca, dir: dir + "/etcd", port: "0"}
	c.boot(crowded)
	fmt.Printf("serving %s\n", c.port)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent goes, if it doesn't kill us first
}

// crowded has few addresses, so that one that was given twice shows, and writes as if
// the disk mattered.
func crowded(c *Config) {
	c.ServiceCIDR, c.NodePortRange, c.Etcd.UnsafeNoFsync = []string{"10.0.0.0/25"}, "30000-30200", false
}

// TestCrash kills the server in the middle of many writes. Whatever a client was told
// is there is there afterwards, and no address is lost or given twice.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.LoadOrCreateCA(dir, "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, ca: ca, dir: dir + "/etcd", port: "0", stop: func() {}}
	server, port := serveElsewhere(t, dir)
	c.url = "https://127.0.0.1:" + port
	c.admin = pki.ClientConfig(c.url, ca, c.issue(pki.Admin))

	acknowledged := createUntil(t, c, 60, func() {
		if err := server.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	_ = server.Wait()

	c.boot(crowded)
	defer func() { c.stop() }()
	services := c.client().CoreV1().Services("default")
	owner := map[string]string{}
	list, err := services.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list.Items {
		if other := owner[s.Spec.ClusterIP]; other != "" {
			t.Errorf("%s and %s have %s", s.Name, other, s.Spec.ClusterIP)
		}
		owner[s.Spec.ClusterIP] = s.Name
	}
	for name, ip := range acknowledged {
		if owner[ip] != name {
			t.Errorf("%s was told it has %s, which %q has", name, ip, owner[ip])
		}
	}
	// All that are left can be given, and not one more.
	for n := len(list.Items); n < 126; n++ {
		s, err := services.Create(t.Context(), service(fmt.Sprintf("later%d", n), corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		if other := owner[s.Spec.ClusterIP]; other != "" {
			t.Errorf("%s and %s have %s", s.Name, other, s.Spec.ClusterIP)
		}
		owner[s.Spec.ClusterIP] = s.Name
	}
	if _, err := services.Create(t.Context(), service("one-more", corev1.ServiceTypeClusterIP), metav1.CreateOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("address 127 of 126: %v", err)
	}
}

// serveElsewhere runs TestServeForCrash in another process.
func serveElsewhere(t *testing.T, dir string) (*host.Cmd, string) {
	t.Helper()
	cmd := (*host.Host)(nil).Command(context.Background(), os.Args[0], "-test.run=^TestServeForCrash$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), "ORRERY_CRASH_DIR="+dir)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // closed by Wait, or with us
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if port, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			return cmd, port
		}
		t.Log(lines.Text())
	}
	t.Fatal("the server did not start")
	return nil, ""
}

// createUntil creates Services from several clients and calls kill once n have been
// acknowledged. It returns the addresses of all that were, also after that.
func createUntil(t *testing.T, c *cluster, n int, kill func()) map[string]string {
	acknowledged := map[string]string{}
	var mu sync.Mutex
	var once sync.Once
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	services := c.client().CoreV1().Services("default")
	for worker := range 8 {
		wg.Go(func() {
			for i := range 14 {
				s, err := services.Create(ctx, service(fmt.Sprintf("w%d-%d", worker, i), corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
				if err != nil {
					return // the server is gone
				}
				mu.Lock()
				acknowledged[s.Name] = s.Spec.ClusterIP
				enough := len(acknowledged) >= n
				mu.Unlock()
				if enough {
					once.Do(kill)
				}
			}
		})
	}
	wg.Wait()
	if len(acknowledged) < n {
		t.Fatalf("only %d Services were made", len(acknowledged))
	}
	return acknowledged
}
