package network

import (
	"net/netip"
	"slices"
	"testing"
)

func TestHostPortRules(t *testing.T) {
	to := netip.MustParseAddrPort("10.244.1.5:80")
	all := map[string][]HostPort{
		"uid-b": {{Pod: "default/b", Protocol: "udp", Port: 53, IP: netip.MustParseAddr("0.0.0.0"), To: to}},
		"uid-a": {{Pod: "default/a", Protocol: "tcp", Port: 8080, IP: netip.MustParseAddr("127.0.0.1"), To: to}},
		"uid-c": {{Pod: "default/c", Protocol: "tcp", Port: 80, To: netip.MustParseAddrPort("[fd00:10:244:1::5]:80")}},
	}
	got := hostPortRules(all, ipv4)
	want := []string{
		"*nat",
		":CNI-HOSTPORT-DNAT - [0:0]",
		"-A CNI-HOSTPORT-DNAT -s 10.244.1.5 -d 127.0.0.1 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
		"-A CNI-HOSTPORT-DNAT -s 10.244.1.5 -p udp --dport 53 -j CNI-HOSTPORT-SETMARK",
		"-A CNI-HOSTPORT-DNAT -s 127.0.0.1 -d 127.0.0.1 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
		"-A CNI-HOSTPORT-DNAT -s 127.0.0.1 -p udp --dport 53 -j CNI-HOSTPORT-SETMARK",
		"-A CNI-HOSTPORT-DNAT -d 127.0.0.1 -p tcp --dport 8080 -m comment --comment default/a -j DNAT --to-destination 10.244.1.5:80",
		"-A CNI-HOSTPORT-DNAT -p udp --dport 53 -m comment --comment default/b -j DNAT --to-destination 10.244.1.5:80",
	}
	if !slices.Equal(got, want) {
		t.Errorf("rules\n%q\nwant\n%q", got, want)
	}
	got, want = hostPortRules(all, ipv6), []string{
		"*nat",
		":CNI-HOSTPORT-DNAT - [0:0]",
		"-A CNI-HOSTPORT-DNAT -s ::1 -p tcp --dport 80 -j CNI-HOSTPORT-SETMARK",
		"-A CNI-HOSTPORT-DNAT -s fd00:10:244:1::5 -p tcp --dport 80 -j CNI-HOSTPORT-SETMARK",
		"-A CNI-HOSTPORT-DNAT -p tcp --dport 80 -m comment --comment default/c -j DNAT --to-destination [fd00:10:244:1::5]:80",
	}
	if !slices.Equal(got, want) {
		t.Errorf("rules of IPv6\n%q\nwant\n%q", got, want)
	}
}
