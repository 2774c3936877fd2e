package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"orrery.example.org/dns"
)

// TestFollow: a change of the file is a new configuration, a mistake in it an error, and
// SIGHUP loads it again. What flags say stays.
func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dns.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil { // as editors do
			t.Fatal(err)
		}
	}
	write("ttl: 7\n")
	cmd := &cobra.Command{}
	defaults := dnsConfig{Config: dns.Defaults()}
	s := bind(cmd, defaults)
	if err := cmd.ParseFlags([]string{"--config", file, "--pods", "disabled"}); err != nil {
		t.Fatal(err)
	}
	first := defaults
	if err := s.load(&first); err != nil || first.TTL != 7 {
		t.Fatalf("ttl %d, %v", first.TTL, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reloads := follow(ctx, s, defaults)
	next := func() loaded[dnsConfig] {
		t.Helper()
		select {
		case l := <-reloads:
			return l
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was loaded")
			panic("unreachable")
		}
	}
	write("ttl: 8\nstub-domains: [{zone: corp.example, upstreams: [192.0.2.53]}]\n")
	if l := next(); l.err != nil || l.config.TTL != 8 || l.config.Pods != "disabled" || len(l.config.StubDomains) != 1 || l.config.StubDomains[0].Zone != "corp.example" {
		t.Errorf("after a change: %+v", l)
	}
	write("tttl: 9\n")
	if l := next(); l.err == nil || !strings.Contains(l.err.Error(), `unknown key "tttl"`) {
		t.Errorf("after a mistake: %+v", l)
	}
	write("")
	if l := next(); l.err != nil || l.config.TTL != dns.Defaults().TTL || len(l.config.StubDomains) != 0 {
		t.Errorf("of an empty file: %+v", l)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if l := next(); l.err != nil || l.config.TTL != dns.Defaults().TTL {
		t.Errorf("after SIGHUP: %+v", l)
	}
	cancel()
	for range reloads { // until it is closed
	}
}
