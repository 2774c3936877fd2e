package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestHealthPort: the port answers while its component runs, and ends with it.
func TestHealthPort(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	ready, finish := make(chan struct{}), make(chan struct{})
	broken := errors.New("broken")
	run := HealthPort{address}.beside(func(context.Context) error { <-finish; return broken }, ready)
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context()) }()

	awaitAnswer(t, address, "/healthz", "200 ok")
	awaitAnswer(t, address, "/readyz", "503 not ready yet\n")
	close(ready)
	awaitAnswer(t, address, "/readyz", "200 ok")

	taken := HealthPort{address}.beside(func(context.Context) error { t.Error("it runs without its port"); return nil }, ready)
	if err := taken(t.Context()); err == nil {
		t.Error("two components on one port")
	}
	close(finish)
	if err := <-ended; !errors.Is(err, broken) {
		t.Errorf("ended with %v", err)
	}
	if _, err := http.Get("http://" + address + "/healthz"); err == nil {
		t.Error("the port answers for a component that has ended")
	}
}

// awaitAnswer asks until the answer, code and text, is the one wanted.
func awaitAnswer(t *testing.T, address, path, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			got = err.Error()
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got = fmt.Sprintf("%d %s", resp.StatusCode, text); got == want {
			return
		}
	}
	t.Fatalf("%s: %q, want %q", path, got, want)
}
