package agnhost

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

func newNettest(name string, peers int) *nettestServer {
	c, _ := newProgram()
	c.Spec.Env = []corev1.EnvVar{{Name: "HOSTNAME", Value: name}}
	p := &program{Container: c, flags: flag.NewFlagSet("", flag.ContinueOnError), log: log.New(io.Discard, "", 0)}
	return &nettestServer{
		program: p, peers: peers, service: "nettest", namespace: "default", pause: time.Millisecond, patience: time.Minute,
		quit:  make(chan struct{}, 1),
		state: nettestState{Hostname: name, Sent: map[string]int{}, Received: map[string]int{}, StillContactingPeers: true},
	}
}

// endpointsOf is an API that knows these addresses of the Service.
func endpointsOf(listeners ...net.Listener) kubernetes.Interface {
	endpoints := &corev1.Endpoints{}
	endpoints.Name, endpoints.Namespace = "nettest", "default"
	for _, ln := range listeners {
		address := ln.Addr().(*net.TCPAddr)
		endpoints.Subsets = append(endpoints.Subsets, corev1.EndpointSubset{
			Addresses: []corev1.EndpointAddress{{IP: address.IP.String()}}, Ports: []corev1.EndpointPort{{Port: int32(address.Port)}},
		})
	}
	return fake.NewSimpleClientset(endpoints)
}

// TestNettest runs three that greet each other, one of which is told to end.
func TestNettest(t *testing.T) {
	var listeners []net.Listener
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, ln)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 3)
	for i, name := range []string{"a", "b", "c"} {
		go func() { ended <- newNettest(name, 3).serve(ctx, listeners[i], endpointsOf(listeners...), 0) }()
	}
	get := func(ln net.Listener, path string) string {
		response, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	for _, ln := range listeners {
		for end := time.Now().Add(30 * time.Second); get(ln, "/status") != "pass"; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("status %s: %s", get(ln, "/status"), get(ln, "/read"))
			}
		}
	}
	var state nettestState
	if err := json.Unmarshal([]byte(get(listeners[1], "/read")), &state); err != nil || state.Hostname != "b" || state.Sent["c"] == 0 || state.Received["a"] == 0 {
		t.Errorf("state %+v, %v", state, err)
	}
	get(listeners[0], "/quit")
	if err := <-ended; err != nil {
		t.Errorf("the one that was to end: %v", err)
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestNettestStatus(t *testing.T) {
	s := newNettest("a", 1)
	post := func(body string) string {
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequest("POST", "/write", strings.NewReader(body)))
		return w.Body.String()
	}
	if got := s.status(); got != "running" {
		t.Errorf("at first: %s", got)
	}
	s.change(func(state *nettestState) { state.StillContactingPeers = false })
	if got := s.status(); got != "fail" || !strings.HasPrefix(s.state.Log[0], "Declaring failure for default/nettest with 0 sent and 0 received and 1 peers") {
		t.Errorf("without peers: %s, %q", got, s.state.Log)
	}
	if got := post(`{"Source":"b","Dest":"http://a"}`); got != `{"Hostname":"a"}` {
		t.Errorf("answer %s", got)
	}
	post(`{"Dest":"http://a"}`)
	post(`no JSON`)
	if len(s.state.Errors) != 3 || !slices.Contains(s.state.Errors, "a: Got request with no source") {
		t.Errorf("errors %q", s.state.Errors)
	}
	s.change(func(state *nettestState) { state.Sent["b"]++ })
	if got := s.status(); got != "pass" {
		t.Errorf("after a greeting each way: %s", got)
	}
	for range 2 * longestNettestLog {
		s.note("again")
	}
	if len(s.state.Log) != longestNettestLog {
		t.Errorf("%d lines of log", len(s.state.Log))
	}
}
