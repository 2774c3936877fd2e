package dns

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

// resolverHost is a place with a loopback device and a Pod's resolv.conf, that names
// the server on port 53 there.
func resolverHost(t *testing.T) *host.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		needs(t, "root, to make a network and a mount namespace")
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	text := "nameserver 127.0.0.1\nsearch testns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := host.Create("dns-test", func() error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		return unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		// getaddrinfo asks for a family that some other device has an address of.
		{"link", "add", "eth0", "type", "veth", "peer", "name", "peer0"},
		{"link", "set", "eth0", "up"},
		{"addr", "add", "10.244.1.7/24", "dev", "eth0"},
		{"addr", "add", "fd00:10:244::7/64", "dev", "eth0", "nodad"},
	} {
		if out, err := program(t, h, "ip", args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return h
}

// needs skips a test that lacks something, except in CI, which has to have it.
func needs(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

// TestResolvers: the programs and libraries that ask from Pods find every form of a name,
// and are told at once of one that is not there.
func TestResolvers(t *testing.T) {
	h := resolverHost(t)
	cfg := testConfig(world()...)
	cfg.Host, cfg.Listen = h, []string{"127.0.0.1:53"}
	start(t, cfg)

	forms := []string{"svc1", "svc1.testns", "svc1.testns.svc", "svc1.testns.svc.cluster.local", "svc1.testns.svc.cluster.local."}
	t.Run("glibc", func(t *testing.T) {
		for _, name := range forms {
			if out, err := program(t, h, "getent", "ahostsv4", name); err != nil || !strings.HasPrefix(out, "10.0.0.1 ") {
				t.Errorf("getent ahostsv4 %s: %v\n%s", name, err, out)
			}
		}
		if out, err := program(t, h, "getent", "ahosts", "svc-dual-stack"); err != nil || !strings.Contains(out, "10.0.0.3") || !strings.Contains(out, "10::3") {
			t.Errorf("getent ahosts svc-dual-stack: %v\n%s", err, out)
		}
		if out, err := program(t, h, "getent", "hosts", "10.0.0.1"); err != nil || !strings.Contains(out, "svc1.testns.svc.cluster.local") {
			t.Errorf("getent hosts 10.0.0.1: %v\n%s", err, out)
		}
		for _, name := range []string{"nope", "example.com"} {
			if out, err := program(t, h, "getent", "ahosts", name); err == nil {
				t.Errorf("getent ahosts %s found %s", name, out)
			}
		}
		// More than a UDP reply holds: over TCP.
		if out, err := program(t, h, "getent", "ahostsv4", "big"); err != nil || strings.Count(out, "STREAM") != 100 {
			t.Errorf("getent ahostsv4 big: %v\n%s", err, out)
		}
	})
	t.Run("nslookup", func(t *testing.T) {
		for _, name := range forms {
			out, err := program(t, h, "nslookup", name)
			if err != nil || !strings.Contains(out, "Name:\tsvc1.testns.svc.cluster.local\nAddress: 10.0.0.1\n") {
				t.Errorf("nslookup %s: %v\n%s", name, err, out)
			}
		}
		for _, name := range []string{"nope", "example.com"} {
			if out, err := program(t, h, "nslookup", name); err == nil || !strings.Contains(out, "NXDOMAIN") {
				t.Errorf("nslookup %s: %v\n%s", name, err, out)
			}
		}
	})
	t.Run("dig", func(t *testing.T) {
		for _, args := range [][]string{{"+search", "svc1"}, {"+tcp", "+search", "svc1.testns"}, {"svc1.testns.svc.cluster.local"}} {
			if out, err := program(t, h, "dig", append(args, "+short")...); err != nil || !strings.HasSuffix("\n"+out, "\n10.0.0.1\n") {
				t.Errorf("dig %v: %v\n%s", args, err, out)
			}
		}
		if out, err := program(t, h, "dig", "example.com"); err != nil || !strings.Contains(out, "no upstream is configured") {
			t.Errorf("dig example.com: %v\n%s", err, out)
		}
	})
	t.Run("Go", func(t *testing.T) {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return h.Dial(ctx, network, "127.0.0.1:53")
		}}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if got, err := resolver.LookupHost(ctx, "svc1.testns.svc.cluster.local."); err != nil || !slices.Equal(got, []string{"10.0.0.1"}) {
			t.Errorf("host: %v %v", got, err)
		}
		if got, err := resolver.LookupHost(ctx, "big.testns.svc.cluster.local."); err != nil || len(got) != 100 {
			t.Errorf("host with many addresses: %v %v", got, err)
		}
		if _, got, err := resolver.LookupSRV(ctx, "http", "tcp", "hdls1.testns.svc.cluster.local."); err != nil || len(got) != 5 {
			t.Errorf("SRV: %v %v", got, err)
		}
		if got, err := resolver.LookupAddr(ctx, "10.0.0.1"); err != nil || !slices.Equal(got, []string{"svc1.testns.svc.cluster.local."}) {
			t.Errorf("address: %v %v", got, err)
		}
		if got, err := resolver.LookupCNAME(ctx, "external-to-service.testns.svc.cluster.local."); err != nil || got != "svc1.testns.svc.cluster.local." {
			t.Errorf("CNAME: %v %v", got, err)
		}
		_, err := resolver.LookupHost(ctx, "nope.testns.svc.cluster.local.")
		if dnsErr, ok := err.(*net.DNSError); !ok || !dnsErr.IsNotFound {
			t.Errorf("a missing name: %v", err)
		}
	})
}

// program runs a program of the machine in a place, and returns all that it prints.
func program(t *testing.T, h *host.Host, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := host.LookPath(name); err != nil {
		needs(t, err.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := h.Command(ctx, name, args...).Output()
	return string(out), err
}
