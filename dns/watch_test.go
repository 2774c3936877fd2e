package dns

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestChanges follows objects through their lives.
func TestChanges(t *testing.T) {
	cfg := testConfig(namespace("testns"), svc("testns", "db", "None"), pod("testns", "p", "10.244.1.7", ""))
	cfg.Pods = podsVerified
	_, address := start(t, cfg)
	client, ctx := cfg.clientset, t.Context()
	a := func(name string) string {
		reply := ask(t, "udp", address, name+".cluster.local.", dns.TypeA)
		words := []string{dns.RcodeToString[reply.Rcode]}
		for _, rr := range reply.Answer {
			words = append(words, rr.(*dns.A).A.String())
		}
		slices.Sort(words[1:])
		return strings.Join(words, " ")
	}
	steps := []struct {
		do   func() error
		name string
		want string
	}{
		{func() error { return nil }, "db.testns.svc", "NXDOMAIN"},
		{func() error {
			_, err := client.DiscoveryV1().EndpointSlices("testns").Create(ctx, epSlice("testns/db", "db-1", "p/TCP/1", "10.244.1.1"), metav1.CreateOptions{})
			return err
		}, "db.testns.svc", "NOERROR 10.244.1.1"},
		{func() error {
			_, err := client.DiscoveryV1().EndpointSlices("testns").Update(ctx, epSlice("testns/db", "db-1", "p/TCP/1", "10.244.1.1", "10.244.1.2 zero"), metav1.UpdateOptions{})
			return err
		}, "db.testns.svc", "NOERROR 10.244.1.1 10.244.1.2"},
		{func() error {
			_, err := client.DiscoveryV1().EndpointSlices("testns").Update(ctx, epSlice("testns/db", "db-1", "p/TCP/1", "10.244.1.1 terminating", "10.244.1.2 zero"), metav1.UpdateOptions{})
			return err
		}, "db.testns.svc", "NOERROR 10.244.1.2"},
		{func() error {
			_, err := client.CoreV1().Services("testns").Update(ctx, svc("testns", "db", "10.96.0.9", "p/TCP/1"), metav1.UpdateOptions{})
			return err
		}, "db.testns.svc", "NOERROR 10.96.0.9"},
		{func() error { return client.CoreV1().Services("testns").Delete(ctx, "db", metav1.DeleteOptions{}) }, "db.testns.svc", "NXDOMAIN"},
		{func() error { return nil }, "10-244-1-7.testns.pod", "NOERROR 10.244.1.7"},
		{func() error { return client.CoreV1().Pods("testns").Delete(ctx, "p", metav1.DeleteOptions{}) }, "10-244-1-7.testns.pod", "NXDOMAIN"},
		{func() error { return client.CoreV1().Namespaces().Delete(ctx, "testns", metav1.DeleteOptions{}) }, "testns.svc", "NXDOMAIN"},
	}
	for i, step := range steps {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("step %d: %s is %s", i, step.name, step.want), func() bool { return a(step.name) == step.want })
	}
}

// TestRelist: what a list no longer has is gone, also from the reverse indexes.
func TestRelist(t *testing.T) {
	s, err := New(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	f := newFeed(s, "EndpointSlice", s.clientset.DiscoveryV1().EndpointSlices(""), compactSlice, (*view).setSlice)
	all := func(slices ...*discoveryv1.EndpointSlice) (list []any) {
		for _, es := range slices {
			list = append(list, es)
		}
		return list
	}
	for _, list := range [][]any{
		all(epSlice("a/x", "x-1", "p/TCP/1", "10.0.0.1", "10.0.0.2"), epSlice("a/y", "y-1", "p/TCP/1", "10.0.0.1")),
		all(epSlice("a/x", "x-1", "p/TCP/1", "10.0.0.2")),
		all(epSlice("a/x", "x-1", "p/TCP/1", "10.0.0.2 b", "10.0.0.3")),
		nil,
	} {
		if err := f.store.Replace(list, ""); err != nil {
			t.Fatal(err)
		}
		fresh := newView()
		for _, es := range list {
			fresh.setSlice(key{}, nil, compactSlice(es.(*discoveryv1.EndpointSlice)))
		}
		if len(fresh.slices) != len(s.index.view.slices) || len(fresh.endpointIPs) != len(s.index.view.endpointIPs) {
			t.Errorf("after a list of %d: %v and %v, want %v and %v", len(list),
				s.index.view.slices, s.index.view.endpointIPs, fresh.slices, fresh.endpointIPs)
		}
	}
	if err := f.store.Add(namespace("n")); err == nil {
		t.Error("an object of another kind was taken")
	}
}
