package performance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// tally is what one side took in all rounds.
type tally struct {
	took, cpu time.Duration
	each      []time.Duration
}

// report compares the two sides.
func report(b *testing.B, ours, theirs *tally) {
	n := float64(len(ours.each))
	b.ReportMetric(n/ours.took.Seconds(), "op/s")
	b.ReportMetric(milliseconds(quantile(ours.each, .5)), "p50-ms")
	b.ReportMetric(milliseconds(quantile(theirs.each, .5)), "prepared-p50-ms")
	b.ReportMetric(ours.took.Seconds()/theirs.took.Seconds(), "x-prepared")
	b.ReportMetric(float64(ours.cpu.Microseconds())/n, "server-µs/op")
	b.ReportMetric(float64(theirs.cpu.Microseconds())/n, "prepared-µs/op")
	b.ReportMetric(0, "ns/op")
}

// reads measures something that both servers answer, in eight rounds of n.
func (a *apiBench) reads(workers, n int, f func(ctx context.Context, s *side, i int) error) func(*testing.B) {
	return func(b *testing.B) {
		a.prepare.Do(func() { a.prepareReads(b) })
		var ours, theirs tally
		round := func(s *side, t *tally) {
			cpu := s.cpu(b)
			took, each := atOnce(b, workers, n, func(i int) error { return f(b.Context(), s, i) })
			t.took, t.cpu, t.each = t.took+took, t.cpu+s.cpu(b)-cpu, append(t.each, each...)
		}
		round(&a.ours, &tally{}) // connections, and what a server keeps of the first answer
		round(&a.theirs, &tally{})
		for range 8 * b.N {
			round(&a.ours, &ours)
			round(&a.theirs, &theirs)
		}
		report(b, &ours, &theirs)
	}
}

// prepareReads gives our server's answers to the other.
func (a *apiBench) prepareReads(b *testing.B) {
	const pods, protobuf = "/api/v1/namespaces/" + benchNamespace + "/pods", "application/vnd.kubernetes.protobuf,application/json"
	a.copy(b, pods, "application/json")
	a.copy(b, pods, "application/vnd.kubernetes.protobuf")
	for i := range preparedGets {
		a.copy(b, pods+"/"+benchPod(i).Name, "application/json")
	}
	o := metav1.ListOptions{Limit: 500}
	for {
		uri := fmt.Sprintf("%s?limit=%d", pods, o.Limit)
		if o.Continue != "" {
			uri = fmt.Sprintf("%s?continue=%s&limit=%d", pods, o.Continue, o.Limit)
		}
		a.copy(b, uri, "application/json")
		l, err := a.theirs.pods.List(b.Context(), o) // which has its own token for the next page
		if err != nil {
			b.Fatal(err)
		}
		if o.Continue = l.Continue; o.Continue == "" {
			return
		}
	}
}

// copy prepares one answer.
func (a *apiBench) copy(b *testing.B, uri, accept string) {
	b.Helper()
	header, body := request(b, &a.ours, http.MethodGet, uri, http.Header{"Accept": {accept}, "Accept-Encoding": {"gzip"}}, nil)
	request(b, &a.theirs, http.MethodPut, uri, http.Header{
		"Accept": {accept}, "Content-Type": header["Content-Type"], "Content-Encoding": header["Content-Encoding"],
	}, body)
}

func request(b *testing.B, s *side, method, uri string, header http.Header, body []byte) (http.Header, []byte) {
	b.Helper()
	transport, err := rest.TransportFor(s.config)
	if err != nil {
		b.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.Context(), method, s.config.Host+uri, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header = header
	resp, err := transport.RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s %s: %s %v\n%.300s", method, uri, resp.Status, err, out)
	}
	return resp.Header, out
}
