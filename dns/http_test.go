package dns

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMetrics: the names and labels that dashboards for CoreDNS ask for, and a registry
// per server.
func TestMetrics(t *testing.T) {
	cfg := testConfig(world()...)
	cfg.MetricsAddress = "127.0.0.1:0"
	cfg.HealthAddress = cfg.MetricsAddress // one socket for both
	s, address := start(t, cfg)
	start(t, testConfig()) // another one in this process

	ask(t, "udp", address, "svc1.testns.svc.cluster.local.", dns.TypeA)
	ask(t, "udp", address, "svc0.testns.svc.cluster.local.", dns.TypeA)
	ask(t, "tcp", address, "svc0.testns.svc.cluster.local.", 4711)
	es := epSlice("testns/hdls1", "hdls1-1", "http/TCP/80", "172.0.0.9")
	es.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().Add(-time.Second).Format(time.RFC3339Nano)}
	if _, err := cfg.clientset.DiscoveryV1().EndpointSlices("testns").Update(t.Context(), es, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change is there", func() bool {
		return len(ask(t, "udp", address, "hdls1.testns.svc.cluster.local.", dns.TypeA).Answer) == 1
	})

	url := "http://" + s.sockets.http[0].listener.Addr().String()
	if code, body := get(t, url+"/health"); code != http.StatusOK || body != "OK" {
		t.Errorf("/health: %d %q", code, body)
	}
	_, text := get(t, url+"/metrics")
	server := fmt.Sprintf(`server="dns://%s",`, cfg.Listen[0])
	for _, want := range []string{
		`coredns_dns_requests_total{family="1",proto="tcp",` + server + `type="other",view="",zone="."} 1`,
		`coredns_dns_responses_total{plugin="kubernetes",rcode="NXDOMAIN",` + server + `view="",zone="."} 2`,
		`coredns_dns_request_duration_seconds_count{` + server + `view="",zone="."}`,
		`coredns_dns_request_size_bytes_count{proto="tcp",` + server + `view="",zone="."} 1`,
		`coredns_dns_response_size_bytes_count{proto="tcp",` + server + `view="",zone="."} 1`,
		`coredns_kubernetes_dns_programming_duration_seconds_count{service_kind="headless_with_selector"} 1`,
		`coredns_panics_total 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
