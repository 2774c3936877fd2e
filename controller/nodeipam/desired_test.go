package nodeipam

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

func TestPool(t *testing.T) {
	for _, row := range []struct {
		cidr         string
		bits4, bits6 int
		want         []string
	}{
		{"10.244.0.0/16", 24, 64, []string{"10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"}},
		{"10.244.255.0/24", 25, 64, []string{"10.244.255.0/25", "10.244.255.128/25", "full"}},
		{"fd00:10:244::/56", 24, 64, []string{"fd00:10:244::/64", "fd00:10:244:1::/64", "fd00:10:244:2::/64"}},
		{"10.1.2.3/32", 32, 64, []string{"10.1.2.3/32", "full"}},
	} {
		pools, err := parsePools(row.cidr, row.bits4, row.bits6)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range row.want {
			r, err := pools[0].allocate(fmt.Sprint("node", i))
			got := r.String()
			if errors.Is(err, errFull) {
				got = "full"
			}
			if got != want {
				t.Errorf("%s number %d: %s, want %s", row.cidr, i, got, want)
			}
		}
	}
}

// TestPoolReuse: a range that is given back is the last to be used again.
func TestPoolReuse(t *testing.T) {
	pools, _ := parsePools("10.0.0.0/30", 32, 128)
	p := pools[0]
	taken := netip.MustParsePrefix("10.0.0.1/32")
	if err := p.occupy("old", taken); err != nil {
		t.Fatal(err)
	}
	if err := p.occupy("thief", taken); err == nil {
		t.Error("two nodes with one range")
	}
	if err := p.occupy("far", netip.MustParsePrefix("10.9.9.9/32")); err == nil {
		t.Error("a range outside the cluster's")
	}
	next := func(node string) string {
		t.Helper()
		r, err := p.allocate(node)
		if err != nil {
			t.Fatal(err)
		}
		return r.String()
	}
	got := []string{next("a"), next("b")}
	p.release("a")
	got = append(got, next("c"), next("d"))
	if want := "[10.0.0.0/32 10.0.0.2/32 10.0.0.3/32 10.0.0.0/32]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if r, ok := p.of("old"); !ok || r != taken {
		t.Errorf("the old node has %v", r)
	}
}

func TestParsePools(t *testing.T) {
	if pools, err := parsePools("10.244.0.0/16, fd00:10:244::/56", 24, 64); err != nil || len(pools) != 2 {
		t.Errorf("one of each family: %v", err)
	}
	for _, bad := range []string{"", "10.244.0.0", "10.244.0.0/25", "10.0.0.0/4", "10.1.0.0/16,10.2.0.0/16", "10.1.0.0/16,fd00::/56,fd01::/56"} {
		if _, err := parsePools(bad, 24, 64); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}
