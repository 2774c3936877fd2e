package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const (
	soa      = "cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 3 7200 1800 86400 5"
	nodata   = "NODATA"
	nxdomain = "NXDOMAIN"
	refused  = "REFUSED"
)

// row is a question and the answer it must get: records, or one of the words above for
// an answer without. extra is the additional section.
type row struct {
	about    string
	question string // name and type
	answer   []string
	extra    []string
}

func is(records ...string) []string { return records }

// rows are the answers of the Kubernetes DNS specification 1.1.0, by the numbers of its
// sections, and those that CoreDNS's tests ask for beyond it.
var rows = []row{
	{"2.2 schema version", "dns-version.cluster.local. TXT", is(`dns-version.cluster.local. 28800 IN TXT "1.1.0"`), nil},
	{"2.2 TXT of a name that has none", "svc1.testns.svc.cluster.local. TXT", is(nodata), nil},

	{"2.3.1 A of a Service", "svc1.testns.svc.cluster.local. A", is("svc1.testns.svc.cluster.local. 5 IN A 10.0.0.1"), nil},
	{"2.3.1 A without endpoints", "svcempty.testns.svc.cluster.local. A", is("svcempty.testns.svc.cluster.local. 5 IN A 10.0.0.2"), nil},
	{"2.3.1 AAAA of a Service", "svc6.testns.svc.cluster.local. AAAA", is("svc6.testns.svc.cluster.local. 5 IN AAAA 1234:abcd::1"), nil},
	{"2.3.1 AAAA of an IPv4 Service", "svc1.testns.svc.cluster.local. AAAA", is(nodata), nil},
	{"2.3.1 A of an IPv6 Service", "svc6.testns.svc.cluster.local. A", is(nodata), nil},
	{"2.3.1 A of both families", "svc-dual-stack.testns.svc.cluster.local. A", is("svc-dual-stack.testns.svc.cluster.local. 5 IN A 10.0.0.3"), nil},
	{"2.3.1 AAAA of both families", "svc-dual-stack.testns.svc.cluster.local. AAAA", is("svc-dual-stack.testns.svc.cluster.local. 5 IN AAAA 10::3"), nil},
	{"2.3.1 A of several ports once", "multi.testns.svc.cluster.local. A", is("multi.testns.svc.cluster.local. 5 IN A 10.0.0.4"), nil},
	{"2.3.1 A without ports", "portless.testns.svc.cluster.local. A", is("portless.testns.svc.cluster.local. 5 IN A 10.0.0.6"), nil},
	{"2.3.1 an endpoint of a ClusterIP Service", "ep1a.svc1.testns.svc.cluster.local. A", is("ep1a.svc1.testns.svc.cluster.local. 5 IN A 172.0.0.1"), nil},

	{"2.3.2 SRV of a port", "_http._tcp.svc1.testns.svc.cluster.local. SRV",
		is("_http._tcp.svc1.testns.svc.cluster.local. 5 IN SRV 0 100 80 svc1.testns.svc.cluster.local."),
		is("svc1.testns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"2.3.2 SRV of an IPv6 Service", "_http._tcp.svc6.testns.svc.cluster.local. SRV",
		is("_http._tcp.svc6.testns.svc.cluster.local. 5 IN SRV 0 100 80 svc6.testns.svc.cluster.local."),
		is("svc6.testns.svc.cluster.local. 5 IN AAAA 1234:abcd::1")},
	{"2.3.2 SRV of both families", "svc-dual-stack.testns.svc.cluster.local. SRV",
		is("svc-dual-stack.testns.svc.cluster.local. 5 IN SRV 0 50 80 svc-dual-stack.testns.svc.cluster.local."),
		is("svc-dual-stack.testns.svc.cluster.local. 5 IN A 10.0.0.3", "svc-dual-stack.testns.svc.cluster.local. 5 IN AAAA 10::3")},
	{"2.3.2 SRV of the bare name", "svc1.testns.svc.cluster.local. SRV",
		is("svc1.testns.svc.cluster.local. 5 IN SRV 0 100 80 svc1.testns.svc.cluster.local."),
		is("svc1.testns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"2.3.2 SRV of the bare name, three ports", "multi.testns.svc.cluster.local. SRV",
		is("multi.testns.svc.cluster.local. 5 IN SRV 0 33 80 multi.testns.svc.cluster.local.",
			"multi.testns.svc.cluster.local. 5 IN SRV 0 33 53 multi.testns.svc.cluster.local."),
		is("multi.testns.svc.cluster.local. 5 IN A 10.0.0.4")},
	{"2.3.2 SRV by protocol", "_dns._udp.multi.testns.svc.cluster.local. SRV",
		is("_dns._udp.multi.testns.svc.cluster.local. 5 IN SRV 0 100 53 multi.testns.svc.cluster.local."),
		is("multi.testns.svc.cluster.local. 5 IN A 10.0.0.4")},
	{"2.3.2 SRV of a port by the wrong protocol", "_http._udp.svc1.testns.svc.cluster.local. SRV", is(nxdomain), nil},
	{"2.3.2 SRV of a port that is not there", "_nope._tcp.svc1.testns.svc.cluster.local. SRV", is(nxdomain), nil},
	{"2.3.2 SRV of an unnamed port", "_http._tcp.unnamed.testns.svc.cluster.local. SRV", is(nxdomain), nil},
	{"2.3.2 SRV without ports", "portless.testns.svc.cluster.local. SRV", is(nodata), nil},
	{"2.3.2 A of a port", "_http._tcp.svc1.testns.svc.cluster.local. A", is("_http._tcp.svc1.testns.svc.cluster.local. 5 IN A 10.0.0.1"), nil},

	{"2.3.3 PTR of a Service", "1.0.0.10.in-addr.arpa. PTR", is("1.0.0.10.in-addr.arpa. 5 IN PTR svc1.testns.svc.cluster.local."), nil},
	{"2.3.3 PTR of an IPv6 Service", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.c.b.a.4.3.2.1.ip6.arpa. PTR",
		is("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.c.b.a.4.3.2.1.ip6.arpa. 5 IN PTR svc6.testns.svc.cluster.local."), nil},

	{"2.4.1 A of a headless Service", "hdls1.testns.svc.cluster.local. A",
		is("hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.2", "hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.3",
			"hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.4", "hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.5"), nil},
	{"2.4.1 AAAA of a headless Service", "hdls1.testns.svc.cluster.local. AAAA",
		is("hdls1.testns.svc.cluster.local. 5 IN AAAA 5678:abcd::1", "hdls1.testns.svc.cluster.local. 5 IN AAAA 5678:abcd::2"), nil},
	{"2.4.1 A of a headless Service without ports", "hdlsprtls.testns.svc.cluster.local. A", is("hdlsprtls.testns.svc.cluster.local. 5 IN A 172.0.0.20"), nil},
	{"2.4.1 A over two slices", "two-slices.testns.svc.cluster.local. A",
		is("two-slices.testns.svc.cluster.local. 5 IN A 172.0.0.30", "two-slices.testns.svc.cluster.local. 5 IN A 172.0.0.31"), nil},
	{"2.4.1 A of ready endpoints only, unknown is ready", "states.testns.svc.cluster.local. A",
		is("states.testns.svc.cluster.local. 5 IN A 172.0.0.40", "states.testns.svc.cluster.local. 5 IN A 172.0.0.43"), nil},
	{"2.4.1 a headless Service without ready endpoints", "noneready.testns.svc.cluster.local. A", is(nxdomain), nil},
	{"2.4.1 A of an endpoint by hostname", "dup-name.hdls1.testns.svc.cluster.local. A",
		is("dup-name.hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.4", "dup-name.hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.5"), nil},
	{"2.4.1 A of an endpoint by address", "172-0-0-2.hdls1.testns.svc.cluster.local. A", is("172-0-0-2.hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.2"), nil},
	{"2.4.1 AAAA of an endpoint by address", "5678-abcd--2.hdls1.testns.svc.cluster.local. AAAA",
		is("5678-abcd--2.hdls1.testns.svc.cluster.local. 5 IN AAAA 5678:abcd::2"), nil},
	{"2.4.1 an address in another spelling", "5678-abcd-0--2.hdls1.testns.svc.cluster.local. AAAA", is(nxdomain), nil},
	{"2.4.1 an endpoint with a hostname by address", "172-0-0-4.hdls1.testns.svc.cluster.local. A", is(nxdomain), nil},
	{"2.4.1 an endpoint that is not ready", "172-0-0-41.states.testns.svc.cluster.local. A", is(nxdomain), nil},
	{"2.4.1 an endpoint without ports", "172-0-0-20.hdlsprtls.testns.svc.cluster.local. A", is("172-0-0-20.hdlsprtls.testns.svc.cluster.local. 5 IN A 172.0.0.20"), nil},
	{"2.4.1 an endpoint that is not there", "bogusendpoint.hdls1.testns.svc.cluster.local. A", is(nxdomain), nil},
	{"2.4.1 an endpoint of a Service that is not there", "bogusendpoint.svc0.testns.svc.cluster.local. A", is(nxdomain), nil},

	{"2.4.2 SRV of a headless Service", "_http._tcp.hdls1.testns.svc.cluster.local. SRV",
		is("_http._tcp.hdls1.testns.svc.cluster.local. 5 IN SRV 0 16 80 172-0-0-2.hdls1.testns.svc.cluster.local.",
			"_http._tcp.hdls1.testns.svc.cluster.local. 5 IN SRV 0 16 80 172-0-0-3.hdls1.testns.svc.cluster.local.",
			"_http._tcp.hdls1.testns.svc.cluster.local. 5 IN SRV 0 16 80 5678-abcd--1.hdls1.testns.svc.cluster.local.",
			"_http._tcp.hdls1.testns.svc.cluster.local. 5 IN SRV 0 16 80 5678-abcd--2.hdls1.testns.svc.cluster.local.",
			"_http._tcp.hdls1.testns.svc.cluster.local. 5 IN SRV 0 16 80 dup-name.hdls1.testns.svc.cluster.local."),
		is("172-0-0-2.hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.2",
			"172-0-0-3.hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.3",
			"5678-abcd--1.hdls1.testns.svc.cluster.local. 5 IN AAAA 5678:abcd::1",
			"5678-abcd--2.hdls1.testns.svc.cluster.local. 5 IN AAAA 5678:abcd::2",
			"dup-name.hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.4",
			"dup-name.hdls1.testns.svc.cluster.local. 5 IN A 172.0.0.5")},
	{"2.4.2 SRV of slices with different ports", "two-slices.testns.svc.cluster.local. SRV",
		is("two-slices.testns.svc.cluster.local. 5 IN SRV 0 33 80 a.two-slices.testns.svc.cluster.local.",
			"two-slices.testns.svc.cluster.local. 5 IN SRV 0 33 8080 a.two-slices.testns.svc.cluster.local.",
			"two-slices.testns.svc.cluster.local. 5 IN SRV 0 33 8080 b.two-slices.testns.svc.cluster.local."),
		is("a.two-slices.testns.svc.cluster.local. 5 IN A 172.0.0.30", "b.two-slices.testns.svc.cluster.local. 5 IN A 172.0.0.31")},
	{"2.4.2 SRV of a headless Service without ports", "hdlsprtls.testns.svc.cluster.local. SRV", is(nodata), nil},

	{"2.4.3 PTR of an endpoint", "2.0.0.172.in-addr.arpa. PTR", is("2.0.0.172.in-addr.arpa. 5 IN PTR 172-0-0-2.hdls1.testns.svc.cluster.local."), nil},
	{"2.4.3 PTR of an endpoint with a hostname, of two Services", "1.0.0.172.in-addr.arpa. PTR",
		is("1.0.0.172.in-addr.arpa. 5 IN PTR ep1a.svc1.testns.svc.cluster.local.",
			"1.0.0.172.in-addr.arpa. 5 IN PTR 172-0-0-1.other.podns.svc.cluster.local."), nil},
	{"2.4.3 PTR of an endpoint in two slices", "30.0.0.172.in-addr.arpa. PTR", is("30.0.0.172.in-addr.arpa. 5 IN PTR a.two-slices.testns.svc.cluster.local."), nil},
	{"2.4.3 PTR of an IPv6 endpoint", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.c.b.a.8.7.6.5.ip6.arpa. PTR",
		is("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.c.b.a.8.7.6.5.ip6.arpa. 5 IN PTR 5678-abcd--1.hdls1.testns.svc.cluster.local."), nil},
	{"2.4.3 PTR of an endpoint that is not ready", "41.0.0.172.in-addr.arpa. PTR", is(nxdomain), nil},
	{"PTR in the cluster's domain", "svc1.testns.svc.cluster.local. PTR", is(nodata), nil},
	{"PTR of a name that is not there", "example.org.cluster.local. PTR", is(nxdomain), nil},

	{"2.5 CNAME of an ExternalName", "external.testns.svc.cluster.local. CNAME", is("external.testns.svc.cluster.local. 5 IN CNAME ext.interwebs.test."), nil},
	{"2.5 A of an ExternalName outside", "external.testns.svc.cluster.local. A", is("external.testns.svc.cluster.local. 5 IN CNAME ext.interwebs.test."), nil},
	{"2.5 A of an ExternalName inside", "external-to-service.testns.svc.cluster.local. A",
		is("external-to-service.testns.svc.cluster.local. 5 IN CNAME svc1.testns.svc.cluster.local.", "svc1.testns.svc.cluster.local. 5 IN A 10.0.0.1"), nil},
	{"2.5 AAAA of an ExternalName inside", "external-to-service.testns.svc.cluster.local. AAAA", is(nodata), nil},
	{"2.5 A over two ExternalNames", "external-to-external.testns.svc.cluster.local. A",
		is("external-to-external.testns.svc.cluster.local. 5 IN CNAME external-to-service.testns.svc.cluster.local.",
			"external-to-service.testns.svc.cluster.local. 5 IN CNAME svc1.testns.svc.cluster.local.", "svc1.testns.svc.cluster.local. 5 IN A 10.0.0.1"), nil},
	{"2.5 A of an ExternalName that leads nowhere", "external-to-missing.testns.svc.cluster.local. A", is(nodata), nil},
	{"2.5 SRV of an ExternalName", "external.testns.svc.cluster.local. SRV", is(nodata), nil},
	{"2.5 a port of an ExternalName", "_http._tcp.external.testns.svc.cluster.local. SRV", is(nxdomain), nil},
	{"2.5 an address as ExternalName", "external-address.testns.svc.cluster.local. A", is(nxdomain), nil},
	{"2.5 an ExternalName that is its own", "itself.testns.svc.cluster.local. A", is(nodata), nil},
	{"2.5 two ExternalNames that are each other's", "round.testns.svc.cluster.local. A", is(nodata), nil},
	{"2.5 a name below an ExternalName", "endpoint.external.testns.svc.cluster.local. CNAME", is(nxdomain), nil},

	{"the zone, A", "cluster.local. A", is(nodata), nil},
	{"the zone, HINFO", "cluster.local. HINFO", is(nodata), nil},
	{"the zone, SOA", "cluster.local. SOA", is(soa), nil},
	{"the zone, NS", "cluster.local. NS", is("cluster.local. 5 IN NS kube-dns.kube-system.svc.cluster.local."),
		is("kube-dns.kube-system.svc.cluster.local. 5 IN A 10.0.0.10")},
	{"the zone's name server, A", "ns.dns.cluster.local. A", is("ns.dns.cluster.local. 5 IN A 10.0.0.10"), nil},
	{"the zone's name server, AAAA", "ns.dns.cluster.local. AAAA", is(nodata), nil},
	{"svc", "svc.cluster.local. A", is(nodata), nil},
	{"svc, NS", "svc.cluster.local. NS", is(nodata), nil},
	{"pod", "pod.cluster.local. A", is(nodata), nil},
	{"a Namespace", "testns.svc.cluster.local. A", is(nodata), nil},
	{"a Namespace, NS", "testns.svc.cluster.local. NS", is(nodata), nil},
	{"a Namespace that is not there", "foo.svc.cluster.local. NS", is(nxdomain), nil},
	{"a Service that is not there", "svc0.testns.svc.cluster.local. A", is(nxdomain), nil},
	{"a Service that is not there, AAAA", "svc0.testns.svc.cluster.local. AAAA", is(nxdomain), nil},
	{"a Service of a Namespace that is not there", "svc0.svc-nons.svc.cluster.local. A", is(nxdomain), nil},
	{"SOA below the zone", "svc1.testns.svc.cluster.local. SOA", is(nodata), nil},
	{"NS of a name that is not there", "foo.cluster.local. NS", is(nxdomain), nil},
	{"MX of a Service", "svc1.testns.svc.cluster.local. MX", is(nodata), nil},
	{"MX of a Service that is not there", "svc0.testns.svc.cluster.local. MX", is(nxdomain), nil},
	{"ANY of a Service", "svc1.testns.svc.cluster.local. ANY", is(nodata), nil},
	{"a kind that is not there", "svc1.testns.foo.cluster.local. A", is(nxdomain), nil},
	{"too many labels", "a.b.c.svc1.testns.svc.cluster.local. A", is(nxdomain), nil},
	{"a label with a dot in it", `a\.svc1.testns.svc.cluster.local. A`, is(nxdomain), nil},
	{"AXFR", "cluster.local. AXFR", is(refused), nil},
	{"IXFR", "cluster.local. IXFR", is(refused), nil},
}

func TestAnswers(t *testing.T) {
	v, r := viewOf(world()), testResolver(podsDisabled)
	for _, row := range rows {
		t.Run(row.about, func(t *testing.T) { row.check(t, r.answer(v, row.ask())) })
	}
}

// TestPodAnswers is about section 2.6: names that spell an address.
func TestPodAnswers(t *testing.T) {
	for mode, rows := range map[string][]row{
		podsDisabled: {
			{"a Pod", "10-240-0-1.podns.pod.cluster.local. A", is(nxdomain), nil},
			{"a Namespace", "podns.pod.cluster.local. A", is(nxdomain), nil},
		},
		podsInsecure: {
			{"a Pod", "10-240-0-1.podns.pod.cluster.local. A", is("10-240-0-1.podns.pod.cluster.local. 5 IN A 10.240.0.1"), nil},
			{"no Pod", "172-0-0-2.podns.pod.cluster.local. A", is("172-0-0-2.podns.pod.cluster.local. 5 IN A 172.0.0.2"), nil},
			{"IPv6", "fd00-10--1.podns.pod.cluster.local. AAAA", is("fd00-10--1.podns.pod.cluster.local. 5 IN AAAA fd00:10::1"), nil},
			{"the other family", "10-240-0-1.podns.pod.cluster.local. AAAA", is(nodata), nil},
			{"no address", "blah.podns.pod.cluster.local. A", is(nxdomain), nil},
			{"no address, AAAA", "blah.podns.pod.cluster.local. AAAA", is(nxdomain), nil},
			{"no address, HINFO", "blah.podns.pod.cluster.local. HINFO", is(nxdomain), nil},
			{"a number too large", "10-240-0-256.podns.pod.cluster.local. A", is(nxdomain), nil},
			{"a Namespace", "podns.pod.cluster.local. A", is(nodata), nil},
			{"a Namespace that is not there", "10-240-0-1.pod-nons.pod.cluster.local. A", is(nxdomain), nil},
		},
		podsVerified: {
			{"a Pod", "10-240-0-1.podns.pod.cluster.local. A", is("10-240-0-1.podns.pod.cluster.local. 5 IN A 10.240.0.1"), nil},
			{"a Pod of another Namespace", "10-240-0-1.testns.pod.cluster.local. A", is(nxdomain), nil},
			{"a Pod that has ended", "10-240-0-2.podns.pod.cluster.local. A", is(nxdomain), nil},
			{"no Pod", "172-0-0-2.podns.pod.cluster.local. A", is(nxdomain), nil},
			{"a Namespace", "podns.pod.cluster.local. A", is(nodata), nil},
			{"a Namespace that is not there", "pod-nons.pod.cluster.local. A", is(nxdomain), nil},
		},
	} {
		v, r := viewOf(world()), testResolver(mode)
		for _, row := range rows {
			t.Run(mode+"/"+row.about, func(t *testing.T) { row.check(t, r.answer(v, row.ask())) })
		}
	}
}

// TestCase: names match in any case, and come back the way they were asked; the SOA
// record and SRV targets keep that of the zone.
func TestCase(t *testing.T) {
	v, r := viewOf(world()), testResolver(podsInsecure)
	for _, row := range []row{
		{"A", "SvC1.TeStNs.SvC.cLuStEr.LoCaL. A", is("SvC1.TeStNs.SvC.cLuStEr.LoCaL. 5 IN A 10.0.0.1"), nil},
		{"SRV", "_HtTp._TcP.sVc1.TeStNs.SvC.cLuStEr.LoCaL. SRV",
			is("_HtTp._TcP.sVc1.TeStNs.SvC.cLuStEr.LoCaL. 5 IN SRV 0 100 80 svc1.testns.svc.cLuStEr.LoCaL."),
			is("svc1.testns.svc.cLuStEr.LoCaL. 5 IN A 10.0.0.1")},
		{"SOA", "Cluster.local. SOA", is("Cluster.local. 5 IN SOA ns.dns.Cluster.local. hostmaster.Cluster.local. 3 7200 1800 86400 5"), nil},
		{"hostname", "DUP-name.hdls1.testns.svc.cluster.local. AAAA", is(nodata), nil},
		{"PTR", "1.0.0.10.IN-ADDR.arpa. PTR", is("1.0.0.10.IN-ADDR.arpa. 5 IN PTR svc1.testns.svc.cluster.local."), nil},
	} {
		t.Run(row.about, func(t *testing.T) { row.check(t, r.answer(v, row.ask())) })
	}
	a := r.answer(v, dns.Question{Name: "not-a-service.testns.svc.ClUsTeR.lOcAl.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
	want := "ClUsTeR.lOcAl. 5 IN SOA ns.dns.ClUsTeR.lOcAl. hostmaster.ClUsTeR.lOcAl. 3 7200 1800 86400 5"
	if got := text(a.soa); got != want {
		t.Errorf("SOA of a negative answer:\n got %s\nwant %s", got, want)
	}
}

// TestReverseZone: the SOA of a negative answer is that of the zone.
func TestReverseZone(t *testing.T) {
	v, r := viewOf(world()), testResolver(podsInsecure)
	for question, want := range map[string]string{
		"9.9.9.9.in-addr.arpa. PTR":       nxdomain,
		"10.in-addr.arpa. PTR":            nxdomain,
		"1.0.0.0.10.in-addr.arpa. PTR":    nxdomain,
		"256.0.0.10.in-addr.arpa. PTR":    nxdomain,
		"x.0.0.10.in-addr.arpa. PTR":      nxdomain,
		"in-addr.arpa. PTR":               nodata,
		"1.0.0.10.in-addr.arpa. A":        nxdomain, // CoreDNS's word; that of others would be NODATA
		"svc1.testns.svc.in-addr.arpa. A": nxdomain,
	} {
		a := r.answer(v, row{question: question}.ask())
		if got := a.word(); got != want {
			t.Errorf("%s: got %s, want %s", question, got, want)
		}
		if a.soa == nil || a.soa.Hdr.Name != "in-addr.arpa." || a.soa.Ns != "ns.dns.in-addr.arpa." {
			t.Errorf("%s: SOA %v", question, a.soa)
		}
	}
}

func TestNameServers(t *testing.T) {
	v := viewOf(append(world(),
		svc("testns", "replicas", "None"),
		epSlice("testns/replicas", "replicas-1", "dns/UDP/53", "172.0.0.200 one", "172.0.0.201")))
	for _, test := range []struct {
		about, local string
		row
	}{
		{"no Service has us as endpoint", "172.9.9.9", row{question: "cluster.local. NS",
			answer: is("cluster.local. 5 IN NS ns.dns.cluster.local."), extra: is("ns.dns.cluster.local. 5 IN A 172.9.9.9")}},
		{"a headless Service", "172.0.0.201", row{question: "cluster.local. NS",
			answer: is("cluster.local. 5 IN NS one.replicas.testns.svc.cluster.local.", "cluster.local. 5 IN NS 172-0-0-201.replicas.testns.svc.cluster.local."),
			extra:  is("one.replicas.testns.svc.cluster.local. 5 IN A 172.0.0.200", "172-0-0-201.replicas.testns.svc.cluster.local. 5 IN A 172.0.0.201")}},
		{"a reverse zone", "172.0.0.100", row{question: "ip6.arpa. NS",
			answer: is("ip6.arpa. 5 IN NS kube-dns.kube-system.svc.cluster.local."), extra: is("kube-dns.kube-system.svc.cluster.local. 5 IN A 10.0.0.10")}},
	} {
		r := testResolver(podsInsecure)
		r.locals = []netip.Addr{netip.MustParseAddr(test.local)}
		t.Run(test.about, func(t *testing.T) { test.check(t, r.answer(v, test.ask())) })
	}
}

// TestLongChain: a chain of CNAMEs is followed so far and no farther.
func TestLongChain(t *testing.T) {
	objects := append(world(), external("testns", "n0", "svc1.testns.svc.cluster.local"))
	for i := range 12 {
		to, name := string(rune('a'+i-1)), string(rune('a'+i))
		if i == 0 {
			to = "n0"
		}
		objects = append(objects, external("testns", name, to+".testns.svc.cluster.local"))
	}
	v, r := viewOf(objects), testResolver(podsInsecure)
	ask := func(name string) answer {
		return r.answer(v, dns.Question{Name: name + ".testns.svc.cluster.local.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
	}
	if a := ask("j"); len(a.records) != 12 { // eleven CNAMEs and the address
		t.Errorf("a chain of eleven: %v", a.records)
	}
	if a := ask("k"); len(a.records) != 0 || a.rcode != dns.RcodeSuccess {
		t.Errorf("a chain of twelve: %v", a.records)
	}
}

// ask is a row's question.
func (r row) ask() dns.Question {
	name, qtype, _ := strings.Cut(r.question, " ")
	return dns.Question{Name: name, Qtype: dns.StringToType[qtype], Qclass: dns.ClassINET}
}

func (r row) check(t *testing.T, a answer) {
	t.Helper()
	r.checkSections(t, a.word(), a.records, a.extra)
	if (a.word() == nodata || a.word() == nxdomain) != (a.soa != nil) {
		t.Errorf("%s: SOA record %v with %s", r.question, a.soa, a.word())
	}
}

// checkSections compares without regard to order, but for a CNAME, which comes before
// what it leads to.
func (r row) checkSections(t *testing.T, word string, records, extra []dns.RR) {
	t.Helper()
	got := texts(records)
	if len(got) == 0 {
		got = []string{word}
	}
	if i := slices.IndexFunc(records, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeCNAME }); i >= 0 {
		if slices.ContainsFunc(records[i:], func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeCNAME }) {
			t.Errorf("%s: a CNAME comes late: %v", r.question, records)
		}
	}
	if diff := cmp.Diff(sorted(r.answer), sorted(got)); diff != "" {
		t.Errorf("%s: answer (-want +got):\n%s", r.question, diff)
	}
	if diff := cmp.Diff(sorted(r.extra), sorted(texts(extra))); diff != "" {
		t.Errorf("%s: additional section (-want +got):\n%s", r.question, diff)
	}
}

// word says of an answer what its records do not.
func (a answer) word() string {
	switch {
	case a.rcode == dns.RcodeSuccess && len(a.records) == 0:
		return nodata
	case a.rcode == dns.RcodeSuccess:
		return "NOERROR"
	}
	return dns.RcodeToString[a.rcode]
}

func texts(records []dns.RR) []string {
	var all []string
	for _, rr := range records {
		if rr.Header().Rrtype != dns.TypeOPT {
			all = append(all, text(rr))
		}
	}
	return all
}

func text(rr dns.RR) string { return strings.ReplaceAll(rr.String(), "\t", " ") }

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
