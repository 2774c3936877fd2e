package dnsdiff

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/metrics"
	miekg "github.com/miekg/dns"

	"orrery.example.org/dns"
)

// leftOut are CoreDNS's metrics that we do not have, and why.
var leftOut = map[string]string{
	"coredns_cache_prefetch_total":                                 "replies are not fetched ahead of their end",
	"coredns_cache_drops_total":                                    "a malformed reply does not get as far as the cache",
	"coredns_cache_served_stale_total":                             "nothing is served after its time",
	"coredns_proxy_conn_cache_hits_total":                          "connections to upstreams are not kept",
	"coredns_proxy_conn_cache_misses_total":                        "connections to upstreams are not kept",
	"coredns_plugin_enabled":                                       "there are no plugins",
	"coredns_kubernetes_rest_client_requests_total":                "client-go's metrics are one set for a process, which may run several servers",
	"coredns_kubernetes_rest_client_request_duration_seconds":      "the same",
	"coredns_kubernetes_rest_client_rate_limiter_duration_seconds": "the same",
}

// TestSameMetrics: what a dashboard made for CoreDNS asks for has the same name and the
// same labels here.
func TestSameMetrics(t *testing.T) {
	c := newCluster(t)
	fill(t, c, true)
	upstream := startUpstream(t)
	port, metrics := freePort(t), freePort(t)
	theirAddress, ourAddress := fmt.Sprintf("127.0.0.1:%d", port), startOursWithMetrics(t, c, upstream, metrics)
	theirMetrics := freePort(t)
	caddy.Quiet, dnsserver.Quiet = true, true
	instance, err := caddy.Start(caddy.CaddyfileInput{ServerTypeName: "dns", Filepath: "Corefile", Contents: []byte(fmt.Sprintf(
		".:%d {\n  prometheus 127.0.0.1:%d\n  cache 30\n  kubernetes cluster.local {\n    kubeconfig %s\n  }\n  forward . %s\n}\n", port, theirMetrics, c.kubeconfig, upstream))})
	must(t, err)
	t.Cleanup(func() {
		for _, err := range instance.ShutdownCallbacks() {
			t.Errorf("CoreDNS: %v", err)
		}
		must(t, instance.Stop())
	})
	for _, address := range []string{theirAddress, ourAddress} {
		a := newAsker(t, address)
		for _, name := range []string{"web.shop.svc.cluster.local.", "www.example.org.", "www.example.org.", "no.such.test.", "no.such.test."} {
			a.ask(t, question{name: name, qtype: miekg.TypeA, class: miekg.ClassINET, size: 1232, flags: "do"})
		}
	}
	theirs, ours := scrape(t, theirMetrics), scrape(t, metrics)
	if len(theirs) < 10 {
		t.Fatalf("CoreDNS has %v", theirs)
	}
	for name, labels := range theirs {
		got, ok := ours[name]
		switch _, known := leftOut[name]; {
		case known && ok:
			t.Errorf("%s is said to be left out, and is there", name)
		case !known && !ok:
			t.Errorf("there is no %s{%s}", name, labels)
		case ok && got != labels:
			t.Errorf("%s has the labels %s, CoreDNS's %s", name, got, labels)
		}
	}
	for name, labels := range ours {
		if theirs[name] != labels && strings.HasPrefix(name, "coredns_") {
			t.Logf("CoreDNS did not show %s{%s}", name, labels)
		}
	}
}

func startOursWithMetrics(t *testing.T, c *cluster, upstream string, metrics int) (address string) {
	t.Helper()
	port := freePort(t)
	cfg := ourConfig(c, port, settings{pods: "insecure", upstream: upstream})
	cfg.CacheTTL, cfg.DenialTTL = 30, 30
	cfg.MetricsAddress = fmt.Sprintf("127.0.0.1:%d", metrics)
	server, err := dns.New(cfg)
	must(t, err)
	runUntilCleanup(t, "dns", server.Run, server.Ready())
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// scrape reads the names of CoreDNS's metrics, each with those of its labels.
func scrape(t *testing.T, port int) map[string]string {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if !strings.HasPrefix(name, "coredns_") {
			continue
		}
		var labels []string
		for _, pair := range strings.Split(rest, "\",") {
			if label, _, ok := strings.Cut(pair, "=\""); ok && label != "le" {
				labels = append(labels, label)
			}
		}
		slices.Sort(labels)
		all[name] = strings.Join(labels, " ")
	}
	return all
}
