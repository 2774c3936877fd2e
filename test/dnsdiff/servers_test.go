package dnsdiff

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/transfer"
	miekg "github.com/miekg/dns"

	"orrery.example.org/dns"
)

// settings is what both servers are configured alike with.
type settings struct {
	pods     string
	upstream string // address, or none
	autopath bool
	transfer bool // of the zone, to anybody
}

// corefile is kubeadm's, as far as it is about answers.
func corefile(port int, kubeconfig string, s settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".:%d {\n  kubernetes cluster.local in-addr.arpa ip6.arpa {\n", port)
	fmt.Fprintf(&b, "    kubeconfig %s\n    pods %s\n    ttl 5\n", kubeconfig, s.pods)
	if s.upstream != "" {
		fmt.Fprintf(&b, "    fallthrough in-addr.arpa ip6.arpa\n  }\n  forward . %s\n", s.upstream)
	} else {
		b.WriteString("  }\n")
	}
	if s.autopath {
		b.WriteString("  autopath @kubernetes\n")
	}
	if s.transfer {
		b.WriteString("  transfer {\n    to *\n  }\n")
	}
	b.WriteString("  loadbalance\n}\n")
	return b.String()
}

// startCoreDNS serves until the test ends, and returns the address.
func startCoreDNS(t testing.TB, c *cluster, s settings) (address string) {
	t.Helper()
	caddy.Quiet, dnsserver.Quiet = true, true
	port := freePort(t)
	instance, err := caddy.Start(caddy.CaddyfileInput{
		Filepath: "Corefile", Contents: []byte(corefile(port, c.kubeconfig, s)), ServerTypeName: "dns",
	})
	must(t, err)
	t.Cleanup(func() {
		for _, err := range instance.ShutdownCallbacks() {
			t.Errorf("CoreDNS: %v", err)
		}
		must(t, instance.Stop())
	})
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// startOurs serves until the test ends, and returns the address.
func startOurs(t testing.TB, c *cluster, s settings) (address string) {
	t.Helper()
	port := freePort(t)
	cfg := ourConfig(c, port, s)
	server, err := dns.New(cfg)
	must(t, err)
	runUntilCleanup(t, "dns", server.Run, server.Ready())
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func ourConfig(c *cluster, port int, s settings) dns.Config {
	cfg := dns.Defaults()
	cfg.Listen = []string{fmt.Sprintf(":%d", port)}
	cfg.Pods, cfg.Autopath = s.pods, s.autopath
	cfg.CacheTTL, cfg.DenialTTL = 0, 0
	if s.transfer {
		cfg.TransferTo = []string{"*"}
	}
	cfg.HealthAddress, cfg.ReadyAddress, cfg.MetricsAddress = "", "", ""
	cfg.Client = c.config
	cfg.Log = slog.New(slog.DiscardHandler)
	if s.upstream != "" {
		cfg.Upstreams = []string{s.upstream}
	}
	return cfg
}

// freePort finds a port that nobody in this namespace listens on.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	must(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// startUpstream is the rest of the world's DNS: what ends in example.org has addresses,
// nothing else exists.
func startUpstream(t testing.TB) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	listener, err := net.Listen("tcp", conn.LocalAddr().String())
	must(t, err)
	for _, server := range []*miekg.Server{{PacketConn: conn}, {Listener: listener}} {
		server.Handler = miekg.HandlerFunc(answerUpstream)
		done := make(chan error, 1)
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { done <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			must(t, server.Shutdown())
			must(t, <-done)
		})
	}
	return conn.LocalAddr().String()
}

func answerUpstream(w miekg.ResponseWriter, query *miekg.Msg) {
	reply := new(miekg.Msg).SetReply(query)
	reply.RecursionAvailable = true
	if opt := query.IsEdns0(); opt != nil {
		reply.SetEdns0(1232, opt.Do())
	}
	name, qtype := query.Question[0].Name, query.Question[0].Qtype
	soa, _ := miekg.NewRR("org. 60 IN SOA ns.org. host.org. 1 2 3 4 60")
	answer := map[uint16]string{miekg.TypeA: "A 192.0.2.7", miekg.TypeAAAA: "AAAA 2001:db8::7", miekg.TypeMX: "MX 10 mail.example.org."}[qtype]
	switch {
	case !miekg.IsSubDomain("example.org.", name):
		reply.Rcode = miekg.RcodeNameError
		reply.Ns = []miekg.RR{soa}
	case answer == "":
		reply.Ns = []miekg.RR{soa}
	default:
		rr, _ := miekg.NewRR(name + " 60 IN " + answer)
		reply.Answer = []miekg.RR{rr}
	}
	_ = w.WriteMsg(reply)
}
