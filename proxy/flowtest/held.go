package flowtest

import (
	"net"
	"testing"
	"time"
)

// Held is a connection that was made before what a test does, and has to survive it.
type Held struct {
	what           string
	client, server net.Conn
}

// Hold connects to a Service whose endpoint is a listener of the test's.
func (w *World) Hold(t *testing.T, ln net.Listener, from, to string) Held {
	t.Helper()
	client, err := w.Dial(from, "tcp", to)
	if err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return Held{from + " to " + to, client, server}
}

// Alive sends a byte each way.
func (h Held) Alive(t *testing.T, when string) {
	t.Helper()
	for _, way := range [][2]net.Conn{{h.client, h.server}, {h.server, h.client}} {
		for _, end := range way {
			_ = end.SetDeadline(time.Now().Add(patient))
		}
		if _, err := way[0].Write([]byte("x")); err != nil {
			t.Fatalf("%s, %s: %v", h.what, when, err)
		}
		if _, err := way[1].Read(make([]byte, 1)); err != nil {
			t.Fatalf("%s, %s: %v", h.what, when, err)
		}
	}
}

// End closes the server's end.
func (h Held) End() { h.server.Close() }
