package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/host"
)

// crowd is how many connections a test opens: as many as asked for, where this machine
// allows so many open files.
func crowd(t *testing.T, want int) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if most := int(limit.Max) - 500; most < want {
		t.Logf("only %d connections: that is how many files may be open here", most)
		return most
	}
	return want
}

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	return (*host.Host)(nil).Dial(ctx, "tcp", strings.TrimPrefix(s.admin.Host, "https://"))
}

// TestIdleConnections opens ten thousand connections that want nothing: half of them
// don't even finish their handshake.
func TestIdleConnections(t *testing.T) {
	s := start(t, t.TempDir())
	n := crowd(t, 10_000)
	config := s.tls()
	config.NextProtos = []string{"h2"}
	s.alive()
	before := s.resident()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for i := range n {
		conn, err := s.dial(t.Context())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, conn)
		if i%2 == 1 {
			continue
		}
		if err := tls.Client(conn, config).HandshakeContext(t.Context()); err != nil {
			t.Fatalf("handshake %d: %v", i, err)
		}
	}
	s.alive()
	after := s.resident()
	t.Logf("%d connections: from %d to %d MiB", n, before, after)
	if most := 64 * n >> 10; after-before > most {
		t.Errorf("more than 64 KiB a connection")
	}
}

// TestWatchersThatNeverRead opens watches and reads nothing, while others write far more
// than the network between would hold. Writers must not notice, and the server must not
// keep it all for them.
func TestWatchersThatNeverRead(t *testing.T) {
	const watchers, writes, size = 200, 2000, 10 << 10 // 4 GB, if it were all kept
	s := start(t, t.TempDir())
	s.alive()
	before := s.resident()
	config := s.tls()
	config.NextProtos = []string{"http/1.1"}
	for range watchers {
		raw, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		conn := tls.Client(raw, config)
		request := "GET " + configMaps + "?watch=true HTTP/1.1\r\nHost: orrery\r\n\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1) // the answer has begun: the watch is there
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatal(err)
		}
	}
	client := s.client()
	body := strings.Repeat("x", size)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range writes / 8 {
				_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("w%d-%d", w, i)},
					Data:       map[string]string{"x": body},
				}, metav1.CreateOptions{})
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	after := s.resident()
	t.Logf("%d watchers that don't read %d MiB: from %d to %d MiB", watchers, writes*size>>20, before, after)
	if after-before > 400 { // the objects themselves, etcd's memory of them, and what is on its way
		t.Errorf("the server grew by %d MiB", after-before)
	}
	s.alive()
}

// TestSlowRequests sends the beginnings of requests. They hold nothing up.
func TestSlowRequests(t *testing.T) {
	s := start(t, t.TempDir())
	config := s.tls()
	config.NextProtos = []string{"http/1.1"}
	for i := range crowd(t, 500) {
		raw, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		beginning := "POST " + configMaps + " HTTP/1.1\r\nHost: orrery\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
		if _, err := io.WriteString(tls.Client(raw, config), beginning[:len(beginning)-i%len(beginning)]); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := roundTrip(ctx, s.client()); err != nil {
		t.Errorf("with half-sent requests under way: %v", err)
	}
}
