package dns

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// axfr transfers a zone, in however many messages.
func axfr(t *testing.T, address string, m *dns.Msg) ([]dns.RR, error) {
	t.Helper()
	envelopes, err := (&dns.Transfer{ReadTimeout: patience}).In(m, address)
	if err != nil {
		t.Fatal(err)
	}
	var all []dns.RR
	for e := range envelopes {
		if e.Error != nil {
			return nil, e.Error
		}
		all = append(all, e.RR...)
	}
	return all, nil
}

// TestTransfer: the zone comes whole, and each record of it is the answer to its question.
func TestTransfer(t *testing.T) {
	cfg := testConfig(world()...)
	cfg.TransferTo = []string{"127.0.0.0/8"}
	s, address := start(t, cfg)
	for i := range 1000 { // more than one message holds
		name := fmt.Sprintf("many-%d", i)
		s.index.change(func(v *view) {
			v.setService(key{"testns", name}, nil, compactService(svc("testns", name, fmt.Sprintf("10.1.%d.%d", i/250, i%250), "http/TCP/80")))
		})
	}
	zone, err := axfr(t, address, new(dns.Msg).SetAxfr("cluster.local."))
	if err != nil {
		t.Fatal(err)
	}
	if len(zone) < 3000 || zone[0].Header().Rrtype != dns.TypeSOA || !dns.IsDuplicate(zone[0], zone[len(zone)-1]) {
		t.Fatalf("%d records, from %v to %v", len(zone), zone[0], zone[len(zone)-1])
	}
	have := map[string]bool{}
	for _, rr := range zone {
		have[text(rr)] = true
	}
	v := s.index.view
	for _, row := range rows { // what questions find is in the zone
		q := row.ask()
		if !slices.Contains([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME}, q.Qtype) || row.answer[0] == nodata || row.answer[0] == nxdomain {
			continue
		}
		n, _ := parseName(strings.TrimSuffix(q.Name, ".cluster.local."))
		svc := v.services[key{n.namespace, n.object}]
		if svc == nil || n.kind != "svc" || n.port != "" || !svc.headless && n.endpoint != "" {
			continue // a secondary hears of no endpoints beside a Service's own address, as from CoreDNS
		}
		for _, record := range row.answer {
			if !have[record] {
				t.Errorf("%s: the zone lacks %s", row.about, record)
			}
		}
	}
	for _, rr := range zone[1 : len(zone)-1] { // what is in the zone questions find
		h := rr.Header()
		answers := s.settings.Load().resolver.answer(v, dns.Question{Name: h.Name, Qtype: h.Rrtype, Qclass: h.Class}).records
		if !slices.ContainsFunc(answers, func(a dns.RR) bool { return dns.IsDuplicate(a, rr) }) {
			t.Errorf("nobody who asks gets %v", rr)
		}
	}
	for _, want := range []string{
		"_http._tcp.svc1.testns.svc.cluster.local. 5 IN SRV 0 100 80 svc1.testns.svc.cluster.local.",
		"_web._tcp.two-slices.testns.svc.cluster.local. 5 IN SRV 0 50 8080 b.two-slices.testns.svc.cluster.local.",
		"external.testns.svc.cluster.local. 5 IN CNAME ext.interwebs.test.",
	} {
		if !have[want] {
			t.Errorf("the zone lacks %s", want)
		}
	}
	serial := zone[0].(*dns.SOA).Serial
	if got, err := axfr(t, address, new(dns.Msg).SetIxfr("cluster.local.", serial, "a.", "b.")); err != nil || len(got) != 1 {
		t.Errorf("for who has this version: %d records, %v", len(got), err)
	}
	if got, err := axfr(t, address, new(dns.Msg).SetIxfr("cluster.local.", serial-1, "a.", "b.")); err != nil || len(got) != len(zone) {
		t.Errorf("for who has an older version: %d records, %v", len(got), err)
	}
}

// TestTransferRefused: for who is not named, by UDP, and of zones that cannot be listed.
func TestTransferRefused(t *testing.T) {
	for _, row := range []struct {
		about, to, proto, zone string
	}{
		{"nobody is named", "", "tcp", "cluster.local."},
		{"somebody else is", "192.0.2.0/24", "tcp", "cluster.local."},
		{"by UDP", "*", "udp", "cluster.local."},
		{"a part of the zone", "*", "tcp", "svc.cluster.local."},
		{"a reverse zone", "*", "tcp", "in-addr.arpa."},
	} {
		cfg := testConfig(world()...)
		if row.to != "" {
			cfg.TransferTo = []string{row.to}
		}
		_, address := start(t, cfg)
		if got := summary(exchange(t, row.proto, address, new(dns.Msg).SetAxfr(row.zone))); got != "REFUSED" {
			t.Errorf("%s: %s", row.about, got)
		}
	}
}
