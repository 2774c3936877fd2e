// Package performance measures what docs/performance.md reports of whole commands.
// Benchmarks of single parts are beside the parts.
//
//	scripts/build && go test -bench . -benchtime 10x ./test/performance
package performance

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/lab"
)

func ctl(b *testing.B, args ...string) *exec.Cmd {
	b.Helper()
	path, err := filepath.Abs("../../bin/ctl")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		b.Fatalf("run scripts/build first: %v", err)
	}
	return exec.Command(path, args...)
}

func run(b *testing.B, args ...string) string {
	b.Helper()
	out, err := ctl(b, args...).CombinedOutput()
	if err != nil {
		b.Fatalf("ctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// median reports the middle of what was measured, beside the mean that Go reports.
func median(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
}

// BenchmarkUp is `ctl up` with three nodes, from exec to exit, data directory empty.
func BenchmarkUp(b *testing.B) {
	b.Setenv("XDG_STATE_HOME", b.TempDir())
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		run(b, "up", "--name", "bench")
		took = append(took, time.Since(start))
		b.StopTimer()
		run(b, "down", "--name", "bench", "--purge")
		b.StartTimer()
	}
	median(b, took)
}

// BenchmarkUpAgain is `ctl up` on the data of an earlier run.
func BenchmarkUpAgain(b *testing.B) {
	b.Setenv("XDG_STATE_HOME", b.TempDir())
	run(b, "up", "--name", "bench")
	run(b, "down", "--name", "bench")
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		run(b, "up", "--name", "bench")
		took = append(took, time.Since(start))
		b.StopTimer()
		run(b, "down", "--name", "bench")
		b.StartTimer()
	}
	median(b, took)
	run(b, "down", "--name", "bench", "--purge")
}

// BenchmarkIdleMemory reports what an idle lab of three nodes occupies, 20 s after
// its start.
func BenchmarkIdleMemory(b *testing.B) {
	b.Setenv("XDG_STATE_HOME", b.TempDir())
	for b.Loop() {
		run(b, "up", "--name", "bench")
		time.Sleep(20 * time.Second)
		var status lab.Status
		if err := json.Unmarshal([]byte(run(b, "status", "--name", "bench", "-o", "json")), &status); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(status.ResidentBytes>>20), "MB-resident")
		run(b, "down", "--name", "bench", "--purge")
	}
}

// BenchmarkFirstWrite is `ctl serve apiserver`, from exec to the first accepted
// write, on an empty data directory.
func BenchmarkFirstWrite(b *testing.B) {
	dir := b.TempDir()
	args := []string{"serve", "apiserver", "--bind-address", "127.0.0.1:26443", "--pki-dir", filepath.Join(dir, "pki")}
	b.Setenv("XDG_STATE_HOME", dir)
	first := serve(b, append(args, "--etcd-data-dir", filepath.Join(dir, "first")))
	await(b, filepath.Join(dir, "pki", "admin.kubeconfig"))
	client, url := client(b, filepath.Join(dir, "pki", "admin.kubeconfig"))
	writeUntilAccepted(b, client, url)
	stop(b, first)

	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		server := serve(b, append(args, "--etcd-data-dir", filepath.Join(dir, fmt.Sprint(i))))
		writeUntilAccepted(b, client, url)
		took = append(took, time.Since(start))
		b.StopTimer()
		stop(b, server)
		b.StartTimer()
	}
	median(b, took)
}

func serve(b *testing.B, args []string) *exec.Cmd {
	b.Helper()
	cmd := ctl(b, args...)
	cmd.Stderr = new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return cmd
}

func stop(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, cmd.Stderr)
	}
}

func await(b *testing.B, file string) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
	b.Fatalf("%s never appeared", file)
}

// client opens a new connection for each request, as nothing listens at first.
func client(b *testing.B, kubeconfig string) (*http.Client, string) {
	b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		b.Fatal(err)
	}
	tlsConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	transport := &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true}
	return &http.Client{Transport: transport}, config.Host + "/api/v1/namespaces/default/configmaps"
}

func writeUntilAccepted(b *testing.B, c *http.Client, url string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url,
			strings.NewReader(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"first"}}`))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := c.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusCreated {
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
	b.Fatal("no write was accepted within 30 s")
}
