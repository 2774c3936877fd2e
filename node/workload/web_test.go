package workload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// start runs a workload on the test's own loopback until the test ends. The port is
// chosen by listening once.
func start(t *testing.T, w Workload, protocol corev1.Protocol) (address string, stdout *syncBuffer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended, out := make(chan struct{}), make(chan error, 1), &syncBuffer{}
	go func() {
		ended <- w(ctx, &Container{
			Pod:    &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web<1>"}},
			Spec:   corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: int32(port), Protocol: protocol}}},
			Node:   "node1",
			PodIPs: []string{"127.0.0.1"},
			Stdout: out, Stderr: out, Ready: func() { close(ready) },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stopped with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", ln.Addr().String()[len("127.0.0.1:"):]), out
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	// A connection of its own: the log line is written when the connection has ended.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestWeb(t *testing.T) {
	for name, row := range map[string]struct {
		serve Workload
		log   string
	}{
		"nginx": {Nginx.Serve, `^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [-+]\d{4}\] "GET /\?q HTTP/1\.1" 200 \d+ "-" "Go-http-client/1\.1" "-"\n`},
		"httpd": {Httpd.Serve, `^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [-+]\d{4}\] "GET /\?q HTTP/1\.1" 200 \d+\n`},
	} {
		t.Run(name, func(t *testing.T) {
			address, out := start(t, row.serve, corev1.ProtocolTCP)
			status, page := get(t, "http://"+address+"/?q")
			if status != 200 || !strings.Contains(page, "Pod web&lt;1&gt; (127.0.0.1) on node1 answers 127.0.0.1.") {
				t.Errorf("%d %q", status, page)
			}
			if status, _ := get(t, "http://"+address+"/other"); status != 404 {
				t.Errorf("another path: %d, want 404", status)
			}
			if got := out.String(); !regexp.MustCompile(row.log).MatchString(got) {
				t.Errorf("log %q", got)
			}
		})
	}
}

func TestEchoHTTP(t *testing.T) {
	address, _ := start(t, Echo, corev1.ProtocolTCP)
	_, page := get(t, "http://"+address+"/path?x=1")
	for _, want := range []string{"Hostname: web<1>\n", "IP: 127.0.0.1\n", "RemoteAddr: 127.0.0.1:", "GET /path?x=1 HTTP/1.1\n", "Host: " + address + "\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %q: %q", want, page)
		}
	}
}

func TestEchoUDP(t *testing.T) {
	address, _ := start(t, Echo, corev1.ProtocolUDP)
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1500)
	n, err := conn.Read(answer)
	if got := string(answer[:n]); err != nil || !strings.Contains(got, "RemoteAddr: "+conn.LocalAddr().String()+"\n") || !strings.HasSuffix(got, "\nhello") {
		t.Errorf("answer %q, %v", got, err)
	}
}

func TestAPortInUseIsTheContainersError(t *testing.T) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	err = Nginx.Serve(t.Context(), &Container{
		Pod:   &corev1.Pod{},
		Spec:  corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: int32(port)}}},
		Ready: func() { t.Error("ready without its port") },
	})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
}
