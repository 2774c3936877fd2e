package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func newPool(t *testing.T, cidr, file string) *Pool {
	t.Helper()
	p, err := NewPool(netip.MustParsePrefix(cidr), file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// walk does a sequence of steps: "+" allocates, "-N" releases and "=N" reserves the
// address that ends in N.
func walk(t *testing.T, p *Pool, steps ...string) (got []string) {
	t.Helper()
	for _, step := range steps {
		if step == "+" {
			addr, err := p.Allocate()
			if err != nil {
				got = append(got, "full")
				continue
			}
			got = append(got, fmt.Sprint(addr.As4()[3]))
			continue
		}
		addr := netip.MustParseAddr("10.244.1." + step[1:])
		if step[0] == '-' {
			p.Release(addr)
		} else if !p.Reserve(addr) {
			got = append(got, "no")
		}
	}
	return got
}

func TestPool(t *testing.T) {
	for _, row := range []struct {
		name  string
		steps []string
		want  string
	}{
		{"the gateway has the first address", []string{"+", "+"}, "[2 3]"},
		{"a released address is not used at once", []string{"+", "-2", "+", "-3", "+"}, "[2 3 4]"},
		{"until the range was walked through", []string{"+", "+", "+", "+", "+", "-3", "-2", "+", "+"}, "[2 3 4 5 6 2 3]"},
		{"what is in use is jumped over", []string{"+", "+", "+", "+", "+", "-4", "+"}, "[2 3 4 5 6 4]"},
		{"full", []string{"+", "+", "+", "+", "+", "+", "-5", "+", "+"}, "[2 3 4 5 6 full 5 full]"},
		{"reserved addresses are in use", []string{"=3", "+", "+"}, "[2 4]"},
		{"reserved once only", []string{"=3", "=3"}, "[no]"},
		{"never the network's, the gateway's, the broadcast or a foreign address", []string{"=0", "=1", "=7", "=8"}, "[no no no no]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := fmt.Sprint(walk(t, newPool(t, "10.244.1.0/29", ""), row.steps...)); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestPoolRemembersTheLastAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "network", "last-address")
	walk(t, newPool(t, "10.244.1.0/24", file), "+", "+")
	if got := fmt.Sprint(walk(t, newPool(t, "10.244.1.0/24", file), "+")); got != "[4]" {
		t.Errorf("after a restart %s, want 4", got)
	}
	if got := fmt.Sprint(walk(t, newPool(t, "10.244.9.0/24", file), "+")); got != "[2]" {
		t.Errorf("with another podCIDR %s, want 2", got)
	}
	if err := os.WriteFile(file, []byte("10.24"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(walk(t, newPool(t, "10.244.1.0/24", file), "+")); got != "[2]" {
		t.Errorf("with half a file %s, want 2", got)
	}
}

func TestPoolHandsOutEveryAddressOnce(t *testing.T) {
	p, seen := newPool(t, "10.244.1.0/24", ""), map[netip.Addr]bool{}
	for {
		addr, err := p.Allocate()
		if err != nil {
			break
		}
		if seen[addr] {
			t.Fatalf("%s twice", addr)
		}
		seen[addr] = true
	}
	if len(seen) != 253 {
		t.Errorf("%d addresses in a /24, want 253", len(seen))
	}
}

func TestPoolRefuses(t *testing.T) {
	for _, cidr := range []string{"10.244.1.0/30", "fd00:10:244::/126"} {
		if _, err := NewPool(netip.MustParsePrefix(cidr), ""); err == nil {
			t.Errorf("%s was accepted", cidr)
		}
	}
}

// TestPools: a Pod gets one address of each family, or none at all.
func TestPools(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	file := filepath.Join(t.TempDir(), "last-address")
	pools, err := NewPools(prefixes("10.244.1.0/29", "fd00:10:244:1::/64"), file)
	if err != nil {
		t.Fatal(err)
	}
	first, err := pools.Allocate()
	if got := fmt.Sprint(first); err != nil || got != "[10.244.1.2 fd00:10:244:1::2]" {
		t.Errorf("got %s, %v", got, err)
	}
	if pools.Reserve([]netip.Addr{netip.MustParseAddr("10.244.1.3"), first[1]}) {
		t.Error("an address was given twice")
	}
	// What cannot be had of one family is given back of the other.
	for range 4 {
		if _, err := pools.Allocate(); err != nil {
			t.Fatal(err)
		}
	}
	if addrs, err := pools.Allocate(); err == nil {
		t.Errorf("got %v of a full pool", addrs)
	}
	pools.Release(first)
	if !pools.Reserve(first) {
		t.Error("released addresses are not free")
	}
	again, err := NewPools(prefixes("10.244.1.0/29", "fd00:10:244:1::/64"), file)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := again.Allocate(); err != nil || fmt.Sprint(next) != "[10.244.1.2 fd00:10:244:1::7]" {
		t.Errorf("after a restart %v, %v", next, err) // of IPv4 the range was walked through
	}
	for _, bad := range [][]netip.Prefix{nil, prefixes("10.244.1.0/24", "10.244.2.0/24"), prefixes("10.244.1.0/24", "fd00::/127")} {
		if _, err := NewPools(bad, ""); err == nil {
			t.Errorf("%v were accepted", bad)
		}
	}
}

func TestLinkName(t *testing.T) {
	a, b := LinkName("4e2b0f0e-6c5c-4c63-a5a3-0d3f1a0c1111"), LinkName("4e2b0f0e-6c5c-4c63-a5a3-0d3f1a0c1112")
	if a == b || len(a) > 15 {
		t.Errorf("names %q and %q", a, b)
	}
}
