package dig

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/host"
)

func TestParseResolvConf(t *testing.T) {
	for _, row := range []struct {
		about, text string
		want        Resolver
	}{
		{"nothing", "", Resolver{Ndots: 1}},
		{"a Pod's", "search a.svc.c svc.c c\nnameserver 10.96.0.10\noptions ndots:5\n",
			Resolver{Servers: []string{"10.96.0.10:53"}, Search: []string{"a.svc.c", "svc.c", "c"}, Ndots: 5}},
		{"the last search line", "domain a\nsearch b\nsearch c d\n", Resolver{Search: []string{"c", "d"}, Ndots: 1}},
		{"three servers of four, one of IPv6", "nameserver ::1\nnameserver 1.1.1.1\nnameserver x\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n",
			Resolver{Servers: []string{"[::1]:53", "1.1.1.1:53", "1.1.1.2:53"}, Ndots: 1}},
		{"odd options", "options timeout:1 ndots:x ndots:99 ndots:-1\n", Resolver{Ndots: 15}},
	} {
		if diff := cmp.Diff(row.want, ParseResolvConf(row.text)); diff != "" {
			t.Errorf("%s: %s", row.about, diff)
		}
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("search a b\nnameserver 10.96.0.10\noptions ndots:5\n", "web")
	f.Add("nameserver ::1\noptions ndots:0", "web.default.")
	f.Fuzz(func(t *testing.T, text, name string) {
		r := ParseResolvConf(text)
		if len(r.Servers) > 3 || r.Ndots < 0 || r.Ndots > 15 || len(r.Names(name)) == 0 || r.Domain() == "" && !strings.Contains(text, "svc.") {
			t.Errorf("%+v of %q", r, text)
		}
	})
}

// TestNames: the order of the C library's res_search.
func TestNames(t *testing.T) {
	r := ForNamespace("10.96.0.10:53", "shop", "cluster.local")
	for name, want := range map[string]string{
		"web":         "web.shop.svc.cluster.local. web.svc.cluster.local. web.cluster.local. web.",
		"web.shop":    "web.shop.shop.svc.cluster.local. web.shop.svc.cluster.local. web.shop.cluster.local. web.shop.",
		"web.shop.":   "web.shop.",
		"a.b.c.d.e.f": "a.b.c.d.e.f. a.b.c.d.e.f.shop.svc.cluster.local. a.b.c.d.e.f.svc.cluster.local. a.b.c.d.e.f.cluster.local.",
		strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 50): strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 50) + ".",
	} {
		got := strings.Join(r.Names(name), " ")
		if name[0] != 'a' || len(name) < 20 {
			if got != want {
				t.Errorf("%s: %s", name, got)
			}
		} else if strings.Contains(got, "svc.cluster") {
			t.Errorf("a name too long is tried: %s", got)
		}
	}
	if got := ParseResolvConf("nameserver 1.1.1.1").Names("web.shop"); !slices.Equal(got, []string{"web.shop."}) {
		t.Errorf("without a search list: %v", got)
	}
}

func TestParseQuestion(t *testing.T) {
	for _, row := range []struct{ name, qtype, want, err string }{
		{"web", "", "web A", ""},
		{"web", "aaaa", "web AAAA", ""},
		{"_http._tcp.web", "SRV", "_http._tcp.web SRV", ""},
		{"10.96.0.1", "", "1.0.96.10.in-addr.arpa. PTR", ""},
		{"10.96.0.1", "A", "", "has PTR records only"},
		{"web", "AXFR", "", "no type that can be asked for"},
		{"web", "nonsense", "", "no type that can be asked for"},
		{"", "", "", "not a domain name"},
		{"we b", "", "", "not a domain name"},
		{"a..b", "", "", "not a domain name"},
		{strings.Repeat("a", 64), "", "", "not a domain name"},
	} {
		q, err := ParseQuestion(row.name, row.qtype)
		if row.err != "" {
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s %s: %v", row.name, row.qtype, err)
			}
			continue
		}
		if got := q.Name + " " + dns.TypeToString[q.Type]; err != nil || got != row.want {
			t.Errorf("%s %s: %s, %v", row.name, row.qtype, got, err)
		}
	}
}

// world is what the objects behind names are looked for in.
func world() *Objects {
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "db"}}
	}
	ready, hostname := true, "db-0"
	o := &Objects{
		Namespaces: []corev1.Namespace{{ObjectMeta: meta("", "shop")}},
		Services: []corev1.Service{
			{ObjectMeta: meta("shop", "web"), Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.1"}},
			{ObjectMeta: meta("shop", "db"), Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}},
			{ObjectMeta: meta("shop", "out"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}},
		},
		Slices: []discoveryv1.EndpointSlice{{ObjectMeta: meta("shop", "db-x"), Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.1.1"}, Hostname: &hostname, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-0"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}},
			{Addresses: []string{"10.244.1.2"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-1"}},
		}}},
		Pods: []corev1.Pod{{ObjectMeta: meta("shop", "db-0"), Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.1.1"}}}}},
	}
	return o
}

func TestObjects(t *testing.T) {
	r := ForNamespace("", "shop", "cluster.local")
	for record, want := range map[string]string{
		"web.shop.svc.cluster.local. A 10.96.1.1":                                         "Service shop/web",
		"WEB.Shop.svc.cluster.local. A 10.96.1.1":                                         "Service shop/web",
		"db.shop.svc.cluster.local. A 10.244.1.1":                                         "Service shop/db, EndpointSlice db-x, Pod db-0",
		"db-0.db.shop.svc.cluster.local. A 10.244.1.1":                                    "Service shop/db, EndpointSlice db-x, Pod db-0",
		"10-244-1-2.db.shop.svc.cluster.local. A 10.244.1.2":                              "Service shop/db, EndpointSlice db-x, Pod db-1",
		"_sql._tcp.db.shop.svc.cluster.local. SRV 0 50 1 db-0.db.shop.svc.cluster.local.": "Service shop/db, EndpointSlice db-x, Pod db-0",
		"1.1.96.10.in-addr.arpa. PTR web.shop.svc.cluster.local.":                         "Service shop/web",
		"out.shop.svc.cluster.local. CNAME example.com.":                                  "Service shop/out",
		"web.shop.default.svc.cluster.local. CNAME web.shop.svc.cluster.local.":           "the search list, followed by the server",
		"10-244-1-1.shop.pod.cluster.local. A 10.244.1.1":                                 "Pod shop/db-0",
		"example.com. A 192.0.2.1":                                                        "",
		"www.example.com. CNAME example.com.":                                             "",
		"gone.shop.svc.cluster.local. A 10.96.1.1":                                        "",
	} {
		rr, err := dns.NewRR(record)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(world().behind(rr, r), ", "); got != want {
			t.Errorf("%s: %q, want %q", record, got, want)
		}
		if (*Objects)(nil).records([]dns.RR{rr}, r)[0].Name != rr.Header().Name {
			t.Error("without objects there is no record")
		}
	}
}

func TestWhy(t *testing.T) {
	for name, want := range map[string]string{
		"nope.shop.svc.cluster.local.":           "there is no Service nope in Namespace shop",
		"web.nope.svc.cluster.local.":            "there is no Namespace nope",
		"web.svc.cluster.local.":                 "there is no Namespace web",
		"web.cluster.local.":                     "names of the cluster end in svc.cluster.local or pod.cluster.local",
		"db.shop.svc.cluster.local.":             "Service db is headless, and none of its endpoints is ready",
		"gone.db.shop.svc.cluster.local.":        "Service db has no ready endpoint of that name",
		"_nope._tcp.web.shop.svc.cluster.local.": "Service web has no such port",
		"web.shop.svc.cluster.local.":            "Service web has no such record",
		"x.out.shop.svc.cluster.local.":          "Service out is of type ExternalName",
		"10-0-0-1.shop.pod.cluster.local.":       "",
		"example.com.":                           "",
	} {
		if got := world().why(name, "cluster.local"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestRun asks a real server that knows two names.
func TestRun(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		m := new(dns.Msg).SetReply(query)
		_, byTCP := w.RemoteAddr().(*net.TCPAddr)
		switch name := query.Question[0].Name; {
		case name == "big.shop.svc.cluster.local." && !byTCP:
			m.Truncated = true
		case name == "web.svc.cluster.local.", name == "big.shop.svc.cluster.local.":
			rr, _ := dns.NewRR(name + " 5 A 10.96.1.1")
			m.Answer = []dns.RR{rr}
		case name == "web.shop.svc.cluster.local.": // it is there, without an address
		default:
			m.Rcode = dns.RcodeNameError
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 20, ExtraText: "because"}}
		}
		_ = w.WriteMsg(m)
	})
	for _, server := range []*dns.Server{{PacketConn: conn}, {Listener: listener}} {
		server.Handler = handler
		started, done := make(chan struct{}), make(chan error, 1)
		server.NotifyStartedFunc = func() { close(started) }
		go func() { done <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	var here *host.Host
	r := ForNamespace(conn.LocalAddr().String(), "shop", "cluster.local")
	for name, want := range map[string]string{
		"web":  "NODATA NOERROR",
		"nope": "NXDOMAIN NXDOMAIN NXDOMAIN NXDOMAIN",
		"big":  "NOERROR by TCP",
	} {
		result, err := Run(t.Context(), here.Dial, r, Question{name, dns.TypeA}, world())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range result.Queries {
			got = append(got, q.Status)
			if q.TCP {
				got = append(got, "by TCP")
			}
		}
		if strings.Join(got, " ") != want || result.Found != strings.Contains(want, "NOERROR") {
			t.Errorf("%s: %v", name, got)
		}
		if name == "nope" && result.Queries[0].Reason != "because" {
			t.Errorf("the server's reason is not told: %+v", result.Queries[0])
		}
	}
	if _, err := Run(t.Context(), here.Dial, Resolver{}, Question{"web", dns.TypeA}, nil); err == nil {
		t.Error("no server, and no error")
	}
}

func TestText(t *testing.T) {
	result := Result{
		From: "pod/client", Resolver: ForNamespace("10.96.0.10:53", "shop", "cluster.local"), Found: true,
		Queries: []Query{
			{Name: "web.shop.svc.cluster.local.", Type: "A", Status: "NXDOMAIN", Took: 123456 * time.Nanosecond, Reason: "there is no Service web in Namespace shop"},
			{Name: "web.svc.cluster.local.", Type: "A", Status: "NOERROR", Took: 2 * time.Millisecond, TCP: true,
				Answers:    []Record{{"web.svc.cluster.local.", 5, "A", "10.96.1.1", []string{"Service a/b", "Pod c"}}, {"w.", 50, "CNAME", "x.", nil}},
				Additional: []Record{{"y.", 5, "A", "10.0.0.1", nil}}},
		},
	}
	const want = `pod/client asks 10.96.0.10; search shop.svc.cluster.local svc.cluster.local cluster.local; ndots 5

1. web.shop.svc.cluster.local. A: NXDOMAIN (120µs)
   there is no Service web in Namespace shop

2. web.svc.cluster.local. A: NOERROR by TCP, since it is too long for UDP (2ms)
   web.svc.cluster.local.  5   A      10.96.1.1  <- Service a/b, Pod c
   w.                      50  CNAME  x.
   additional:
   y.  5  A  10.0.0.1
`
	if diff := cmp.Diff(want, result.Text()); diff != "" {
		t.Error(diff)
	}
	result.Found, result.Queries = false, result.Queries[:1]
	if got := result.Text(); !strings.HasSuffix(got, "\nNot found: it was the only name to try.\n") {
		t.Error(got)
	}
}
