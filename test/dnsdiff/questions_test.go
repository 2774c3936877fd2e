package dnsdiff

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// question is one query, and how it is sent.
type question struct {
	name  string
	qtype uint16
	class uint16
	tcp   bool
	size  uint16 // of EDNS0; 0: none
	flags string // of the query: any of "do", "cd", "ad", "nord", "version1"
}

func (q question) String() string {
	proto := "udp"
	if q.tcp {
		proto = "tcp"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s edns=%d %s",
		q.name, miekg.Class(q.class), miekg.Type(q.qtype), proto, q.size, q.flags))
}

func (q question) message() *miekg.Msg {
	m := new(miekg.Msg)
	m.SetQuestion(q.name, q.qtype)
	m.Question[0].Qclass = q.class
	has := func(flag string) bool { return slices.Contains(strings.Fields(q.flags), flag) }
	m.RecursionDesired = !has("nord")
	m.CheckingDisabled, m.AuthenticatedData = has("cd"), has("ad")
	if q.size > 0 {
		m.SetEdns0(q.size, has("do"))
		if has("version1") {
			m.IsEdns0().SetVersion(1)
		}
	}
	return m
}

// fill is the cluster that most questions are about: every kind of Service, in every state.
func fill(t testing.TB, c *cluster, withKubeDNS bool) {
	t.Helper()
	for _, name := range []string{"shop", "empty"} {
		c.namespace(t, name)
	}
	if withKubeDNS {
		c.service(t, "kube-system/kube-dns", "10.96.0.10,fd00:10:96::a", "dns/UDP/53", "dns-tcp/TCP/53")
		c.slice(t, "kube-system/kube-dns", "dns/UDP/53 dns-tcp/TCP/53", ownAddress, "10.244.9.9")
	}
	c.service(t, "shop/web", "10.96.1.1", "http/TCP/80", "metrics/TCP/9090")
	c.slice(t, "shop/web", "http/TCP/8080 metrics/TCP/9090", "10.244.1.1", "10.244.1.2 pretty", "10.244.1.3 notready")
	c.service(t, "shop/dual", "10.96.1.2,fd00:10:96::12", "http/TCP/80", "quic/UDP/443")
	c.slice(t, "shop/dual", "http/TCP/80 quic/UDP/443", "10.244.1.4", "10.244.1.5")
	c.slice(t, "shop/dual", "http/TCP/80 quic/UDP/443", "fd00:10:244:1::4", "fd00:10:244:1::")
	c.service(t, "shop/six", "fd00:10:96::16", "http/TCP/80")
	c.service(t, "shop/unnamed", "10.96.1.3", "/TCP/80")
	c.service(t, "shop/sctp", "10.96.1.4", "sigtran/SCTP/2905", "dns/UDP/53", "dns-tcp/TCP/53")
	c.service(t, "shop/lonely", "10.96.1.5", "http/TCP/80") // without endpoints
	c.service(t, "shop/pod", "10.96.1.6", "pod/TCP/80")     // named like a part of names
	c.service(t, "shop/svc", "10.96.1.7", "svc/TCP/80")
	c.service(t, "default/shop", "10.96.1.8", "http/TCP/80")

	c.service(t, "shop/db", "None", "sql/TCP/5432")
	c.slice(t, "shop/db", "sql/TCP/5432 admin/TCP/9000", "10.244.2.1 db-0", "10.244.2.2 db-1", "10.244.2.3", "10.244.2.4 db-2 notready")
	c.slice(t, "shop/db", "sql/TCP/5432", "fd00:10:244:2::1 db-0", "fd00:10:244:2::5")
	c.service(t, "shop/portless", "None")
	c.slice(t, "shop/portless", "", "10.244.3.1", "10.244.3.2 named")
	c.service(t, "shop/states", "None", "http/TCP/80")
	c.slice(t, "shop/states", "http/TCP/80", "10.244.4.1", "10.244.4.2 notready", "10.244.4.3 terminating", "10.244.4.4 unknown")
	c.service(t, "shop/notready", "None", "http/TCP/80")
	c.slice(t, "shop/notready", "http/TCP/80", "10.244.5.1 notready", "10.244.5.2 host terminating")
	c.service(t, "shop/noslices", "None", "http/TCP/80")
	c.service(t, "shop/twins", "None", "http/TCP/80") // one hostname twice, one address in two slices
	c.slice(t, "shop/twins", "http/TCP/80", "10.244.6.1 twin", "10.244.6.2 twin")
	c.slice(t, "shop/twins", "web/TCP/8080", "10.244.6.1 twin", "10.244.6.3")
	c.service(t, "shop/again", "None", "sql/TCP/5432") // selects Pods of db as well
	c.slice(t, "shop/again", "sql/TCP/5432", "10.244.2.1 db-0", "10.244.2.3")
	c.service(t, "shop/three", "None", "http/TCP/80")
	c.slice(t, "shop/three", "http/TCP/80 web/TCP/81 alt/UDP/82", "10.244.7.1", "10.244.7.2", "10.244.7.3")
	c.service(t, "shop/big", "None", "http/TCP/80")
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.244.8.%d", i+1))
	}
	c.slice(t, "shop/big", "http/TCP/80", many...)
	c.slice(t, "shop/orphan", "http/TCP/80", "10.244.10.1") // of a Service that is not there

	c.service(t, "shop/out", "CNAME www.example.org")
	c.service(t, "shop/out-ports", "CNAME www.example.org", "http/TCP/80")
	c.service(t, "shop/out-missing", "CNAME no.such.test")
	c.service(t, "shop/to-web", "CNAME web.shop.svc.cluster.local")
	c.service(t, "shop/to-dual", "CNAME dual.shop.svc.cluster.local")
	c.service(t, "shop/to-db", "CNAME db.shop.svc.cluster.local")
	c.service(t, "shop/to-missing", "CNAME missing.shop.svc.cluster.local")
	c.service(t, "shop/to-apex", "CNAME cluster.local")
	c.service(t, "shop/to-pod", "CNAME 10-244-1-1.shop.pod.cluster.local")
	c.service(t, "shop/to-ns", "CNAME ns.dns.cluster.local")
	c.service(t, "shop/to-address", "CNAME 192.0.2.1")
	c.service(t, "shop/to-out", "CNAME out.shop.svc.cluster.local")
	c.service(t, "shop/self", "CNAME self.shop.svc.cluster.local")
	c.service(t, "shop/ping", "CNAME pong.shop.svc.cluster.local")
	c.service(t, "shop/pong", "CNAME ping.shop.svc.cluster.local")
	c.service(t, "shop/chain-0", "CNAME web.shop.svc.cluster.local")
	for i := range 13 {
		c.service(t, fmt.Sprintf("shop/chain-%d", i+1), fmt.Sprintf("CNAME chain-%d.shop.svc.cluster.local", i))
	}

	c.pod(t, "shop/web-1", "10.244.1.1", corev1.PodRunning)
	c.pod(t, "shop/dual-1", "10.244.1.4,fd00:10:244:1::4", corev1.PodRunning)
	c.pod(t, "shop/done", "10.244.1.200", corev1.PodSucceeded)
	c.pod(t, "shop/failed", "10.244.1.201", corev1.PodFailed)
	c.pod(t, "shop/waiting", "10.244.1.202", corev1.PodPending)
	c.pod(t, "empty/elsewhere", "10.244.1.203", corev1.PodRunning)
}

// types are those that have answers, those that resolvers ask for, and a few oddities.
var types = []uint16{
	miekg.TypeA, miekg.TypeAAAA, miekg.TypeSRV, miekg.TypePTR, miekg.TypeCNAME, miekg.TypeTXT, miekg.TypeNS, miekg.TypeSOA,
	miekg.TypeMX, miekg.TypeANY, miekg.TypeHTTPS, miekg.TypeDS, miekg.TypeCAA, 65280,
}

// questions are all names by all types, and some of them in every manner of asking.
func (c *cluster) questions() (all []question) {
	names := c.names()
	for _, name := range names {
		for _, qtype := range types {
			all = append(all, question{name: name, qtype: qtype, class: miekg.ClassINET, size: 4096})
		}
	}
	for i, name := range names { // in the manners of resolvers
		for _, qtype := range []uint16{miekg.TypeA, miekg.TypeSRV} {
			q := question{name: name, qtype: qtype, class: miekg.ClassINET}
			all = append(all, q)
			q.tcp = i%2 == 0
			q.size = []uint16{0, 511, 512, 1232, 65535}[i%5]
			q.flags = []string{"", "do", "cd", "ad", "nord", "do cd ad", "nord cd"}[i%7]
			q.name = mixCase(name)
			all = append(all, q)
		}
	}
	return append(all, c.oddQuestions()...)
}

// oddQuestions are what no resolver asks.
func (c *cluster) oddQuestions() (all []question) {
	for _, name := range []string{"web.shop.svc.cluster.local.", "missing.shop.svc.cluster.local.", "cluster.local.", "1.1.96.10.in-addr.arpa.", "www.example.org.", "."} {
		for _, tcp := range []bool{false, true} {
			ask := func(qtype, class, size uint16, flags string) {
				all = append(all, question{name, qtype, class, tcp, size, flags})
			}
			for _, size := range []uint16{0, 1232} {
				ask(miekg.TypeA, miekg.ClassCHAOS, size, "")
				ask(miekg.TypeA, miekg.ClassANY, size, "do")
				ask(miekg.TypeTXT, miekg.ClassHESIOD, size, "nord")
				ask(miekg.TypeAXFR, miekg.ClassINET, size, "")
				ask(miekg.TypeIXFR, miekg.ClassINET, size, "")
				ask(miekg.TypeNone, miekg.ClassINET, size, "")
			}
			ask(miekg.TypeA, miekg.ClassINET, 1232, "version1")
			ask(miekg.TypeA, miekg.ClassINET, 1, "")
		}
	}
	return all
}

// names are those of everything in the cluster, and their neighbours.
func (c *cluster) names() (names []string) {
	add := func(format string, args ...any) { names = append(names, fmt.Sprintf(format, args...)) }
	const zone = "cluster.local."
	for _, s := range c.services {
		base := s.Name + "." + s.Namespace + ".svc." + zone
		add("%s", base)
		add("%s", strings.ToUpper(base))
		add("_http._tcp.%s", base)
		add("nothing.%s", base)
		add("too.many.labels.%s", base)
		add("%s.%s.pod.%s", s.Name, s.Namespace, zone)
		for _, p := range s.Spec.Ports {
			if p.Name == "" {
				continue
			}
			add("_%s._%s.%s", p.Name, strings.ToLower(string(p.Protocol)), base)
			add("%s.%s.%s", p.Name, p.Protocol, base)
			add("_%s._udp.%s", p.Name, base)
		}
		for _, ip := range s.Spec.ClusterIPs {
			if addr, err := netip.ParseAddr(ip); err == nil {
				add("%s", reverse(addr))
			}
		}
	}
	for _, es := range c.slices {
		base := es.Labels["kubernetes.io/service-name"] + "." + es.Namespace + ".svc." + zone
		for i, ep := range es.Endpoints {
			if i >= 5 { // the rest is alike
				break
			}
			addr := netip.MustParseAddr(ep.Addresses[0])
			dashed := strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
			add("%s.%s", dashed, base)
			add("%s.%s", strings.ToUpper(dashed), base)
			add("%s.%s.pod.%s", dashed, es.Namespace, zone)
			add("_http._tcp.%s.%s", dashed, base)
			add("%s", reverse(addr))
			if ep.Hostname != nil {
				add("%s.%s", *ep.Hostname, base)
				add("_sql._tcp.%s.%s", *ep.Hostname, base)
			}
		}
		for _, p := range es.Ports {
			add("_%s._%s.%s", *p.Name, strings.ToLower(string(*p.Protocol)), base)
		}
	}
	names = append(names, handPicked...)
	slices.Sort(names)
	return slices.Compact(names)
}

func reverse(addr netip.Addr) string {
	name, err := miekg.ReverseAddr(addr.String())
	if err != nil {
		panic(err)
	}
	return name
}

// mixCase spells a name as a resolver does that puts entropy into its questions.
func mixCase(name string) string {
	b := []byte(name)
	for i := range b {
		if 'a' <= b[i] && b[i] <= 'z' && i%3 != 0 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

var handPicked = strings.Fields(`
	. local. cluster.local. CLUSTER.local. svc.cluster.local. pod.cluster.local. SVC.Cluster.Local.
	dns-version.cluster.local. DNS-Version.cluster.local. x.dns-version.cluster.local. dns-version.svc.cluster.local.
	ns.dns.cluster.local. NS.DNS.cluster.local. dns.cluster.local. x.ns.dns.cluster.local. ns.dns.svc.cluster.local.
	ns.dns.in-addr.arpa. ns.dns.ip6.arpa. ns.dns.10.in-addr.arpa. hostmaster.cluster.local.
	shop.svc.cluster.local. empty.svc.cluster.local. missing.svc.cluster.local. shop.pod.cluster.local. missing.pod.cluster.local.
	web.missing.svc.cluster.local. missing.shop.svc.cluster.local. web.default.svc.cluster.local. web.empty.svc.cluster.local.
	shop.cluster.local. web.shop.cluster.local. web.shop.svc.local. web.shop.foo.cluster.local. web.shop.svc.cluster.local.cluster.local.
	web.shop.svc.cluster.local.shop.svc.cluster.local. svc.svc.cluster.local. pod.pod.cluster.local. svc.pod.cluster.local.
	*.shop.svc.cluster.local. *.svc.cluster.local. web.*.svc.cluster.local. *._tcp.web.shop.svc.cluster.local. any.shop.svc.cluster.local.
	_http.web.shop.svc.cluster.local. _tcp.web.shop.svc.cluster.local. _http._tcp.shop.svc.cluster.local. __http.__tcp.web.shop.svc.cluster.local.
	_._tcp.web.shop.svc.cluster.local. _http._.web.shop.svc.cluster.local. _._.web.shop.svc.cluster.local. _.web.shop.svc.cluster.local.
	_http._tcp._x.web.shop.svc.cluster.local. http._tcp.web.shop.svc.cluster.local. _http.tcp.web.shop.svc.cluster.local.
	_HTTP._TCP.web.shop.svc.cluster.local. _http._sctp.web.shop.svc.cluster.local. _8080._tcp.web.shop.svc.cluster.local.
	kubernetes.default.svc.cluster.local. _https._tcp.kubernetes.default.svc.cluster.local. 172-30-0-2.kubernetes.default.svc.cluster.local.
	1.0.96.10.in-addr.arpa. 2.0.30.172.in-addr.arpa. 01.0.96.10.in-addr.arpa. 001.000.096.010.in-addr.arpa. 1.0.96.10.IN-ADDR.arpa.
	0.96.10.in-addr.arpa. 96.10.in-addr.arpa. 10.in-addr.arpa. in-addr.arpa. x.1.0.96.10.in-addr.arpa. 256.0.96.10.in-addr.arpa. x.0.96.10.in-addr.arpa.
	5.4.3.2.1.0.96.10.in-addr.arpa. 1.0.96.10.in-addr.arpa.cluster.local. 99.99.99.10.in-addr.arpa. svc.in-addr.arpa. web.shop.svc.in-addr.arpa.
	pod.ip6.arpa. dns-version.in-addr.arpa. ip6.arpa. d.f.ip6.arpa. 0.d.f.ip6.arpa.
	2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa. 2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.D.F.IP6.ARPA.
	g.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa. 12.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa.
	10-244-1-1.shop.pod.cluster.local. 10-244-1-1.missing.pod.cluster.local. 10-244-1-1.empty.pod.cluster.local. 10-244-1.shop.pod.cluster.local.
	10-244-1-256.shop.pod.cluster.local. 10-244-1-01.shop.pod.cluster.local. 010-244-1-1.shop.pod.cluster.local. x.10-244-1-1.shop.pod.cluster.local.
	10-244-1-200.shop.pod.cluster.local. 10-244-1-201.shop.pod.cluster.local. 10-244-1-202.shop.pod.cluster.local. 10-244-1-203.shop.pod.cluster.local.
	10-244-1-203.empty.pod.cluster.local. fd00-10-244-1--4.shop.pod.cluster.local. FD00-10-244-1--4.shop.pod.cluster.local. fd00-10-244-1-0-0-0-4.shop.pod.cluster.local.
	--1.shop.pod.cluster.local. ---.shop.pod.cluster.local. 1--.shop.pod.cluster.local. --ffff-10-244-1-1.shop.pod.cluster.local. pod.shop.pod.cluster.local.
	010-244-1-1.web.shop.svc.cluster.local. 10.244.1.1.web.shop.svc.cluster.local. fd00-10-244-1--.dual.shop.svc.cluster.local. fd00-10-244-1--0.dual.shop.svc.cluster.local.
	pretty.web.shop.svc.cluster.local. PRETTY.WEB.SHOP.SVC.CLUSTER.LOCAL. 10-244-1-2.web.shop.svc.cluster.local. 10-244-2-1.db.shop.svc.cluster.local.
	www.example.org. WWW.Example.ORG. example.org. no.such.test. test. com. version.bind. localhost. 1.0.0.127.in-addr.arpa.
	w\.eb.shop.svc.cluster.local. web.shop\.svc.cluster.local. w\101eb.shop.svc.cluster.local. \000.shop.svc.cluster.local. \255\254.cluster.local.
	web.shop.svc.cluster\.local. \119eb.shop.svc.cluster.local.
	aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.shop.svc.cluster.local.
	aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.svc.cluster.local.
`)

// searches are the first names of a Pod's search list, for names that are at the end of
// it, in the middle, and nowhere.
func searches(namespace string) (all []question) {
	for _, name := range []string{
		"www.example.org", "WWW.example.org", "example.org", "a.b.c.example.org", "no.such.test", "test", "localhost",
		"web", "web.shop", "dual.shop", "six.shop", "db.shop", "big.shop", "notready.shop", "missing.shop", "shop.default", "out.shop", "to-web.shop",
		"web.shop.svc", "db.shop.svc", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"web.shop.svc.cluster.local", "missing.shop.svc.cluster.local", "nobody.web", "db-0.db", "_http._tcp.web", "www.example.org.cluster.local",
	} {
		for i, qtype := range []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypeSRV, miekg.TypeTXT, miekg.TypePTR} {
			for _, search := range []string{namespace + ".svc.", "svc.", "", "default.svc.", "missing.svc."} {
				q := question{name: name + "." + search + "cluster.local.", qtype: qtype, class: miekg.ClassINET, tcp: i%2 == 0, size: 4096}
				all = append(all, q)
			}
		}
	}
	return all
}
