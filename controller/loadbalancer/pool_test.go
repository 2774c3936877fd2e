package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/controller/loop"
)

var (
	v4   = []corev1.IPFamily{corev1.IPv4Protocol}
	v6   = []corev1.IPFamily{corev1.IPv6Protocol}
	dual = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
)

func svc(name string) loop.Name { return loop.Name{Namespace: "default", Name: name} }

func newPool(t *testing.T, texts ...string) *pool {
	t.Helper()
	p, err := parsePool(texts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParsePool(t *testing.T) {
	for _, row := range []struct {
		text        string
		first, last string // or the error, in first
	}{
		{"172.30.100.0/24", "172.30.100.1", "172.30.100.254"},
		{"172.30.100.77/24", "172.30.100.1", "172.30.100.254"},
		{"172.30.100.0/31", "172.30.100.0", "172.30.100.1"},
		{"172.30.100.9/32", "172.30.100.9", "172.30.100.9"},
		{"172.30.100.10 - 172.30.100.20", "172.30.100.10", "172.30.100.20"},
		{"fd00::/126", "fd00::", "fd00::3"},
		{"172.30.100.20-172.30.100.10", "not a range", ""},
		{"172.30.100.20-fd00::1", "not a range", ""},
		{"172.30.100", "172.30.100", ""},
		{"", "load-balancer-pool", ""},
	} {
		p, err := parsePool([]string{row.text})
		switch {
		case err != nil:
			if row.last != "" || !strings.Contains(err.Error(), row.first) {
				t.Errorf("%q: %v", row.text, err)
			}
		case p.ranges[0].first.String() != row.first || p.ranges[0].last.String() != row.last:
			t.Errorf("%q: %v", row.text, p.ranges)
		}
	}
	if _, err := parsePool([]string{"10.0.0.0/24", "10.0.0.5-10.0.0.9"}); err == nil {
		t.Error("ranges that overlap are accepted")
	}
}

// TestAssign is a story: each row is one Service asking, in order.
func TestAssign(t *testing.T) {
	p := newPool(t, "10.0.0.1-10.0.0.3", "fd00::1-fd00::2")
	p.occupy(svc("old"), []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.9.9.9")})
	for i, row := range []struct {
		name      string
		families  []corev1.IPFamily
		requested string
		want      string // addresses or the error
	}{
		{"a", v4, "", "10.0.0.1"},
		{"a", v4, "", "10.0.0.1"},
		{"old", v4, "", "10.0.0.2"},
		{"b", dual, "", "fd00::1 10.0.0.3"},
		{"c", v4, "", "the pool has no free address"},
		{"c", v4, "10.0.0.1", "the requested address 10.0.0.1 belongs to the Service default/a"},
		{"c", v4, "10.0.0.4", "the requested address 10.0.0.4 is not in the pool"},
		{"c", v4, "fd00::2", "the requested address fd00::2 is not of the Service's families [IPv4]"},
		{"c", v4, "10.0.0", "the requested address \"10.0.0\" is not an IP address"},
		{"c", v6, "fd00::2", "fd00::2"},
		{"a", v4, "10.0.0.9", "the requested address 10.0.0.9 is not in the pool"},
		{"a", v4, "", "10.0.0.1"}, // and so it has kept the one it had
		{"-old", nil, "", ""},
		{"a", v4, "10.0.0.2", "10.0.0.2"}, // a move gives the old one back
		{"d", v4, "", "10.0.0.1"},
	} {
		if gone, ok := strings.CutPrefix(row.name, "-"); ok {
			p.release(svc(gone))
			continue
		}
		addrs, err := p.assign(svc(row.name), row.families, row.requested)
		got := strings.Trim(fmt.Sprint(addrs), "[]")
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, row.want) || row.want == "" {
			t.Errorf("row %d, %s: %q, want %q", i, row.name, got, row.want)
		}
	}
	if _, err := newPool(t, "10.0.0.0/24").assign(svc("x"), v6, ""); err == nil || !strings.Contains(err.Error(), "no pool") {
		t.Errorf("a family without a pool: %v", err)
	}
}

// FuzzParsePool looks for texts that make a pool with strange ranges.
func FuzzParsePool(f *testing.F) {
	for _, text := range []string{"10.0.0.0/24", "10.0.0.1-10.0.0.9", "fd00::/64", "::ffff:10.0.0.0/120", "fe80::1%eth0-fe80::2", "0.0.0.0/0", "-"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePool([]string{text})
		if err != nil {
			return
		}
		r := p.ranges[0]
		if !r.contains(r.first) || !r.contains(r.last) || r.contains(r.last.Next()) && r.last.Next().IsValid() {
			t.Fatalf("%q is %v", text, r)
		}
		addrs, err := p.assign(svc("a"), []corev1.IPFamily{familyOf(r.first)}, "")
		if err != nil || !slices.Equal(addrs, []netip.Addr{r.first}) {
			t.Fatalf("%q gives %v, %v", text, addrs, err)
		}
	})
}
