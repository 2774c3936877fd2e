package dns

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"orrery.example.org/pki"
)

// TestNewlyReady: a Pod of a headless Service that has just become ready is found by the
// very next question, however often it was asked for in vain: nothing that says "there is
// none" outlives the change, neither among the kept replies nor in the upstreams' cache.
func TestNewlyReady(t *testing.T) {
	cfg := testConfig(world()...)
	cfg.Upstreams = []string{upstream(t)}
	s, address := start(t, cfg)
	for i := range 20 {
		host := fmt.Sprintf("pod-%d", i)
		for _, name := range []string{
			host + ".noneready.testns.svc.cluster.local.", "noneready.testns.svc.cluster.local.",
			"noneready.testns.podns.svc.cluster.local.", // by a search list
			"1.0.9.172.in-addr.arpa.",                   // of which an upstream was asked, too
		} {
			for _, proto := range []string{"udp", "udp", "tcp"} {
				if got := summary(ask(t, proto, address, name, dns.TypeA)); got != "NXDOMAIN" {
					t.Fatalf("%s is there too early: %s", name, got)
				}
			}
		}
		ready := compactSlice(epSlice("testns/noneready", "noneready-2", "http/TCP/80", "172.9.0.1 "+host))
		s.index.change(func(v *view) { v.setSlice(key{"testns", "noneready-2"}, nil, ready) })
		for _, row := range []struct {
			name  string
			qtype uint16
			want  string
		}{
			{host + ".noneready.testns.svc.cluster.local.", dns.TypeA, "NOERROR 172.9.0.1"},
			{"noneready.testns.svc.cluster.local.", dns.TypeA, "NOERROR 172.9.0.1"},
			{"noneready.testns.podns.svc.cluster.local.", dns.TypeA, "NOERROR 172.9.0.1 noneready.testns.svc.cluster.local."},
			{"1.0.9.172.in-addr.arpa.", dns.TypePTR, "NOERROR " + host + ".noneready.testns.svc.cluster.local."},
		} {
			for _, proto := range []string{"udp", "tcp"} {
				if got := summary(ask(t, proto, address, row.name, row.qtype)); got != row.want {
					t.Errorf("%s by %s, ready now: %s", row.name, proto, got)
				}
			}
		}
		s.index.change(func(v *view) { v.setSlice(key{"testns", "noneready-2"}, ready, nil) })
	}
}

// BenchmarkFreshness reports the time from a watch event, as another client of the API
// server sees it, to the answer that has the change in it.
func BenchmarkFreshness(b *testing.B) {
	api := newAPIServer(b)
	cfg := testConfig()
	cfg.clientset, cfg.Client = nil, pki.ClientConfig("https://"+api.address, api.ca, api.issue(pki.Admin))
	defer api.boot()()
	s, address := run(b, cfg)
	await(b, s.Ready())
	client := kubernetes.NewForConfigOrDie(cfg.Client)
	conn, err := dns.Dial("udp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	answered := func(name string) bool {
		reply, _, err := (&dns.Client{Timeout: patience}).ExchangeWithConn(new(dns.Msg).SetQuestion(name, dns.TypeA), conn)
		return err == nil && len(reply.Answer) > 0
	}
	b.Run("Service", func(b *testing.B) {
		events, err := client.CoreV1().Services("default").Watch(b.Context(), metav1.ListOptions{})
		freshness(b, events, err, answered, func(ctx context.Context, name string) error {
			svc := &corev1.Service{ObjectMeta: metaOf("default", name)}
			svc.Spec.Ports = []corev1.ServicePort{{Port: 80}}
			_, err := client.CoreV1().Services("default").Create(ctx, svc, metav1.CreateOptions{})
			return err
		})
	})
	b.Run("endpoint", func(b *testing.B) {
		headless := &corev1.Service{ObjectMeta: metaOf("default", "db")}
		headless.Spec.ClusterIP, headless.Spec.Ports = corev1.ClusterIPNone, []corev1.ServicePort{{Port: 80}}
		_, _ = client.CoreV1().Services("default").Create(b.Context(), headless, metav1.CreateOptions{})
		events, err := client.DiscoveryV1().EndpointSlices("default").Watch(b.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=db"})
		freshness(b, events, err, func(name string) bool {
			return answered(name[:len(name)-len("default.svc.cluster.local.")] + "db.default.svc.cluster.local.")
		},
			func(ctx context.Context, name string) error {
				_, err := client.DiscoveryV1().EndpointSlices("default").Create(ctx, epSlice("default/db", name, "http/TCP/80", "10.244.1.1 "+name), metav1.CreateOptions{})
				return err
			})
	})
}

// freshness creates objects one after the other, and asks for each from its event on.
func freshness(b *testing.B, events watch.Interface, err error, answered func(name string) bool, create func(context.Context, string) error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	defer events.Stop()
	var took []time.Duration
	prefix := fmt.Sprintf("f%d", time.Now().UnixNano())
	for b.Loop() {
		name := fmt.Sprintf("%s-%d", prefix, len(took))
		if err := create(b.Context(), name); err != nil {
			b.Fatal(err)
		}
		for event := range events.ResultChan() {
			if o, ok := event.Object.(metav1.Object); ok && event.Type == watch.Added && o.GetName() == name {
				break
			}
		}
		start := time.Now()
		for !answered(name + ".default.svc.cluster.local.") {
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-max")
}
