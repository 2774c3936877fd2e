package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/etcd"
	"orrery.example.org/apiserver/store"
	"orrery.example.org/pki"
)

// BenchmarkRequest is what requests take from the first filter to the last byte, without
// TLS, HTTP and etcd's fsync. cpu-µs/op is all of the process's CPU time: etcd's, the
// watch's that feeds the caches, and the garbage collector's are part of a write.
func BenchmarkRequest(b *testing.B) {
	const pods = "/api/v1/namespaces/default/pods"
	s := newBenchServer(b)
	n := 0
	body := func() string {
		n++
		return fmt.Sprintf(`{"metadata":{"name":"p%06d","labels":{"app":"a"}},"spec":{"nodeName":"node1","automountServiceAccountToken":false,"containers":[{"name":"web","image":"nginx","ports":[{"containerPort":80}]}]}}`, n)
	}
	s.do(b, http.MethodPost, "/api/v1/namespaces/default/serviceaccounts", "", `{"metadata":{"name":"default"}}`)
	for range 2000 {
		s.do(b, http.MethodPost, pods, "", body())
	}
	s.measure(b, "create", func() { s.do(b, http.MethodPost, pods, "", body()) })
	i, phases := 0, [2]string{"Running", "Pending"}
	s.measure(b, "status", func() {
		i++
		s.do(b, http.MethodPatch, fmt.Sprintf("%s/p%06d/status", pods, i%2000+1), "application/strategic-merge-patch+json",
			fmt.Sprintf(`{"status":{"phase":%q}}`, phases[i/2000%2]))
	})
	s.measure(b, "apply", func() {
		i++
		s.do(b, http.MethodPatch, fmt.Sprintf("%s/p%06d?fieldManager=me&force=true", pods, i%2000+1), "application/apply-patch+yaml",
			fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"b%d"}}}`, i))
	})
	s.measure(b, "get", func() { s.do(b, http.MethodGet, pods+"/p000001", "", "") })
	s.measure(b, "list-500", func() { s.do(b, http.MethodGet, pods+"?limit=500", "", "") })
}

type benchServer struct{ handler http.Handler }

func newBenchServer(b *testing.B) *benchServer {
	ctx, cancel := context.WithCancel(context.Background())
	member, err := etcd.Start(ctx, etcd.Config{DataDir: b.TempDir(), UnsafeNoFsync: true}, testLog())
	if err != nil {
		b.Fatal(err)
	}
	ca, err := pki.NewCA("kubernetes")
	if err != nil {
		b.Fatal(err)
	}
	pair, err := ca.Issue(pki.APIServerClient)
	if err != nil {
		b.Fatal(err)
	}
	server, err := New(Config{BindAddress: "127.0.0.1:0", CA: ca, Serving: pair, KubeletClient: pair, Log: testLog()})
	if err != nil {
		b.Fatal(err)
	}
	objects := store.New(member.Client(), "/registry/", server.cfg.Kinds, testLog(), store.WithRevision(member.Revision()))
	advertise, started := netip.MustParseAddrPort("172.30.0.2:6443"), make(chan struct{})
	h, err := server.handlers(objects, advertise, started)
	if err != nil {
		b.Fatal(err)
	}
	h.authn = auth.Chain{everybody{}}
	var running sync.WaitGroup
	running.Go(func() { _ = objects.Run(ctx) })
	running.Go(func() { _ = server.boot(ctx, objects, h, advertise, started) })
	b.Cleanup(func() {
		cancel()
		running.Wait()
		member.Close()
	})
	<-server.Ready()
	h.owners.Load()
	return &benchServer{h.routes()}
}

// everybody is an administrator.
type everybody struct{}

func (everybody) Authenticate(*http.Request) (*auth.User, error) {
	return &auth.User{Name: "admin", Groups: []string{"system:masters"}}, nil
}

// do sends a request. Like net/http it answers each in a goroutine of its own.
func (s *benchServer) do(b *testing.B, method, uri, mediaType, body string) {
	r := httptest.NewRequest(method, uri, strings.NewReader(body))
	r.Header.Set("Accept", "application/json")
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.handler.ServeHTTP(w, r)
	}()
	<-done
	if w.Code/100 != 2 {
		text, _ := io.ReadAll(w.Body)
		b.Fatalf("%s %s: %d %s", method, uri, w.Code, text)
	}
}

func (s *benchServer) measure(b *testing.B, name string, f func()) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		before := cpuTime(b)
		for b.Loop() {
			f()
		}
		b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
	})
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
