package server

import (
	"slices"
	"testing"
)

func TestWants(t *testing.T) {
	for _, c := range []struct {
		method, path, verb string
		subresources       []string
	}{
		{"GET", "/pods", "get", []string{"pods", "proxy"}},
		{"GET", "/pods/", "get", []string{"pods", "proxy"}},
		{"GET", "/podsX", "get", []string{"proxy"}},
		{"GET", "/runningpods/", "get", []string{"pods", "proxy"}},
		{"GET", "/healthz", "get", []string{"healthz", "proxy"}},
		{"GET", "/healthz/ping", "get", []string{"healthz", "proxy"}},
		{"GET", "/configz", "get", []string{"configz", "proxy"}},
		{"GET", "/metrics", "get", []string{"metrics"}},
		{"GET", "/metrics/resource", "get", []string{"metrics"}},
		{"GET", "/stats/summary", "get", []string{"stats"}},
		{"GET", "/logs/x", "get", []string{"log"}},
		{"POST", "/checkpoint/a/b/c", "create", []string{"checkpoint"}},
		{"GET", "/containerLogs/a/b/c", "get", []string{"proxy"}},
		{"POST", "/exec/a/b/c", "create", []string{"proxy"}},
		{"GET", "/exec/a/b/c", "get", []string{"proxy"}},
		{"OPTIONS", "/", "", []string{"proxy"}},
	} {
		if verb, subresources := wants(c.method, c.path); verb != c.verb || !slices.Equal(subresources, c.subresources) {
			t.Errorf("%s %s: %s on %v, want %s on %v", c.method, c.path, verb, subresources, c.verb, c.subresources)
		}
	}
}
