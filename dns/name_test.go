package dns

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func TestParseName(t *testing.T) {
	for _, test := range []struct {
		relative string
		want     name
		ok       bool
	}{
		{"ns.svc", name{kind: "svc", namespace: "ns"}, true},
		{"web.ns.svc", name{kind: "svc", namespace: "ns", object: "web"}, true},
		{"1-2-3-4.ns.pod", name{kind: "pod", namespace: "ns", object: "1-2-3-4"}, true},
		{"ep.web.ns.svc", name{kind: "svc", namespace: "ns", object: "web", endpoint: "ep"}, true},
		{"_http._tcp.web.ns.svc", name{kind: "svc", namespace: "ns", object: "web", port: "http", protocol: "tcp"}, true},
		{"http.tcp.web.ns.svc", name{kind: "svc", namespace: "ns", object: "web", port: "http", protocol: "tcp"}, true},
		{"a._http._tcp.web.ns.svc", name{}, false},
		{"web.ns.external", name{}, false},
		{"com", name{}, false},
		{"", name{}, false},
		{`a\.b.ns.svc`, name{}, false},
	} {
		got, ok := parseName(test.relative)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%q: got %+v %v, want %+v %v", test.relative, got, ok, test.want, test.ok)
		}
	}
}

// FuzzAddressNames: an address comes back from each of its two spellings, and there is
// no other that gives it.
func FuzzAddressNames(f *testing.F) {
	f.Add([]byte{10, 244, 1, 7}, "10-244-1-7")
	f.Add([]byte{0xfd, 0, 0, 0x10, 15: 7}, "fd00-10--7")
	f.Add([]byte{0xfd, 15: 0}, "fd00--0")
	f.Add([]byte{15: 1}, "--1")
	f.Fuzz(func(t *testing.T, ip []byte, label string) {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			addr = addr.Unmap()
			if got, ok := undashed(dashed(addr)); !ok || got != addr {
				t.Errorf("%s: %q gives %s", addr, dashed(addr), got)
			}
			arpa, err := dns.ReverseAddr(addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := reversed(arpa); !ok || got != addr {
				t.Errorf("%s: %q gives %s", addr, arpa, got)
			}
		}
		if endpointFilter(label)(&endpoint{addr: netip.AddrFrom4([4]byte{10, 244, 1, 7})}) && label != "" && label != "10-244-1-7" {
			t.Errorf("%q is taken for 10-244-1-7", label)
		}
		reversed(label + ".in-addr.arpa.")
		reversed(label + ".ip6.arpa.")
	})
}
