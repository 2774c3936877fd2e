package dnsdiff

import (
	"slices"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
)

// TestSameTransfer: a secondary server gets the same zone from both, but for what is
// explained here.
func TestSameTransfer(t *testing.T) {
	c := newCluster(t)
	fill(t, c, true)
	s := settings{pods: "insecure", transfer: true}
	theirs, ours := zoneOf(t, startCoreDNS(t, c, s)), zoneOf(t, startOurs(t, c, s))
	if len(theirs) < 200 {
		t.Fatalf("CoreDNS's zone has %d records", len(theirs))
	}
	for i, record := range theirs { // its name servers' addresses live for no time at all
		theirs[i] = strings.Replace(record, "kube-dns.kube-system.svc.cluster.local. 0 IN", "kube-dns.kube-system.svc.cluster.local. 5 IN", 1)
	}
	weights := 0
	for _, record := range theirs {
		if slices.Contains(ours, record) {
			continue
		}
		// CoreDNS weighs SRV records of a transfer for each port alone, those of an
		// answer over everything that is in it. Ours are those of the answer.
		if !strings.Contains(record, " IN SRV ") || !slices.ContainsFunc(ours, func(r string) bool { return unweighed(r) == unweighed(record) }) {
			t.Errorf("only CoreDNS has %s", record)
		}
		weights++
	}
	for _, record := range ours {
		if !slices.ContainsFunc(theirs, func(r string) bool { return r == record || unweighed(r) == unweighed(record) }) {
			t.Errorf("only we have %s", record)
		}
	}
	t.Logf("%d records, %d SRV records with another weight", len(ours), weights)
}

// unweighed is an SRV record without its weight.
func unweighed(record string) string {
	fields := strings.Fields(record)
	if len(fields) < 6 || fields[3] != "SRV" {
		return record
	}
	return strings.Join(slices.Delete(fields, 5, 6), " ")
}

// zoneOf transfers the cluster's zone, as soon as the server knows of the last Service.
func zoneOf(t *testing.T, address string) (records []string) {
	t.Helper()
	newAsker(t, address).knows("web.shop.svc.cluster.local.")
	envelopes, err := new(miekg.Transfer).In(new(miekg.Msg).SetAxfr("cluster.local."), address)
	must(t, err)
	var all []miekg.RR
	for e := range envelopes {
		must(t, e.Error)
		all = append(all, e.RR...)
	}
	return slices.Compact(set(all)) // CoreDNS repeats records of endpoints in two slices
}
