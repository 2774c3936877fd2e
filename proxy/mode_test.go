package proxy

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	. "orrery.example.org/proxy/flowtest"
)

// A proxy of another mode takes over: its rules serve, those of the other are gone, and
// a connection that was there notices nothing (P40).
func TestP40SwitchMode(t *testing.T) {
	w := NewWorld(t)
	ln, err := w.Place("c").Listen(context.Background(), "tcp", ":9090")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	svc := Service("ns1", "svc1", "10.96.0.41", NodePort(30080))
	other := Service("ns1", "svc2", "10.96.0.42")
	client := fake.NewClientset(append(objects(svc, "a"), other, Slice(other, 9090, Pods("c")...))...)
	list := func(args ...string) string {
		out, err := w.Node.Command(context.Background(), args[0], args[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	run(t, w.Node, client).stop()
	conn, err := w.Dial("b", "tcp", "10.96.0.42:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, mode := range []string{ModeNFTables, ModeIPTables, ModeNFTables} {
		r := run(t, w.Node, client, func(c *Config) { c.Mode = mode })
		if got := reaches(w, "b", "10.96.0.41:80"); got != "a" {
			t.Errorf("%s: %s", mode, got)
		}
		if ours := strings.Contains(list("nft", "list", "tables"), "kube-proxy"); ours != (mode == ModeNFTables) {
			t.Errorf("%s: table kube-proxy: %v", mode, ours)
		}
		if ours := strings.Contains(list("iptables-save"), "KUBE-"); ours != (mode == ModeIPTables) {
			t.Errorf("%s: chains KUBE-…: %v", mode, ours)
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		r.stop()
	}
}

// Whoever flushes the rules finds them restored, in the mode nftables too (P48).
func TestRepairNFTables(t *testing.T) {
	w := NewWorld(t)
	run(t, w.Node, fake.NewClientset(objects(Service("ns1", "svc1", "10.96.0.41"), "a")...),
		func(c *Config) { c.Mode, c.SyncPeriod = ModeNFTables, 50*time.Millisecond })
	for _, damage := range []string{"flush ruleset", "flush chain ip kube-proxy services", "flush map ip kube-proxy service-ips"} {
		if _, err := w.Node.Command(context.Background(), "nft", strings.Fields(damage)...).Output(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "repaired after "+damage, func() bool { return reaches(w, "b", "10.96.0.41:80") == "a" })
	}
}
