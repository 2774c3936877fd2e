package lb

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"orrery.example.org/lb/plan"
)

var someTarget = netip.MustParseAddrPort("172.30.0.11:10256")

// TestRecord: each answer is + or -, and after each the verdict is one of + - too.
func TestRecord(t *testing.T) {
	for _, row := range []struct {
		t             thresholds
		answers, want string
	}{
		{thresholds{1, 1}, "+-+-", "+-+-"},
		{thresholds{1, 2}, "+--+-+--", "++-+++" + "+-"},
		{thresholds{2, 3}, "-+++---+--+", "--" + "++++--" + "---"},
		{thresholds{3, 1}, "+-++-+++", "+" + "-----" + "-+"},
	} {
		var r record
		got := ""
		for _, a := range row.answers {
			r = r.after(a == '+', string(a), row.t)
			got += map[bool]string{true: "+", false: "-"}[r.OK]
			if !r.Known {
				t.Errorf("%s: unknown after an answer", row.answers)
			}
		}
		if got != row.want {
			t.Errorf("%+v: after %s the verdicts are %s, want %s", row.t, row.answers, got, row.want)
		}
	}
}

// TestChecker: a new target is asked soon and again, one that was well at its interval,
// and one that nobody wants to know of any more is left in peace.
func TestChecker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, changed atomic.Int32
		var well atomic.Bool
		c := &checker{
			interval: time.Second, thresholds: thresholds{1, 2}, targets: map[plan.Target]*target{},
			changed: func() { changed.Add(1) },
			probe: func(context.Context, plan.Target) (bool, string) {
				asked.Add(1)
				return well.Load(), fmt.Sprint("well: ", well.Load())
			},
		}
		expect := func(when string, asks, changes int32, health plan.Health) {
			t.Helper()
			synctest.Wait()
			if a, ch, h := asked.Load(), changed.Load(), c.health(someTarget); a != asks || ch != changes || h != health {
				t.Errorf("%s: asked %d times, %d changes, %+v", when, a, ch, h)
			}
		}
		expect("before", 0, 0, plan.Health{})
		c.watch(t.Context(), map[plan.Target]bool{someTarget: true})
		expect("at once", 1, 1, plan.Health{Known: true, Why: "well: false"})
		time.Sleep(50*time.Millisecond + 100*time.Millisecond) // the first two delays
		expect("soon after", 3, 1, plan.Health{Known: true, Why: "well: false"})
		well.Store(true)
		time.Sleep(200 * time.Millisecond)
		expect("well", 4, 2, plan.Health{Known: true, OK: true, Why: "well: true"})
		well.Store(false)
		time.Sleep(time.Second)
		expect("one bad answer", 5, 2, plan.Health{Known: true, OK: true, Why: "well: true"})
		time.Sleep(time.Second)
		expect("two", 6, 3, plan.Health{Known: true, Why: "well: false"})
		c.watch(t.Context(), map[plan.Target]bool{someTarget: true})
		time.Sleep(time.Second)
		expect("watched again", 7, 3, plan.Health{Known: true, Why: "well: false"})
		c.watch(t.Context(), nil)
		time.Sleep(time.Minute)
		expect("forgotten", 7, 3, plan.Health{})
		c.close()
	})
}

func TestHTTPProbe(t *testing.T) {
	status, body := http.StatusOK, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	address := netip.MustParseAddrPort(strings.TrimPrefix(server.URL, "http://"))
	probe := httpProbe(nil, 5*time.Second)
	for _, row := range []struct {
		status int
		body   string
		ok     bool
		why    string
	}{
		{200, `{"localEndpoints": 2}`, true, "200: it has 2 ready endpoints of the Service"},
		{503, `{"service": {"name": "a"}, "localEndpoints": 0}`, false, "503: it has 0 ready endpoints of the Service"},
		{503, `{"healthy": false}`, false, "503: Service Unavailable"},
		{204, "", false, "204: No Content"},
		{200, "<html>", true, "200: OK"},
	} {
		status, body = row.status, row.body
		if ok, why := probe(t.Context(), address); ok != row.ok || why != row.why {
			t.Errorf("%d %s: %t, %q", row.status, row.body, ok, why)
		}
	}
	server.Close()
	if ok, why := probe(t.Context(), address); ok || why != "it does not answer" {
		t.Errorf("nobody listens: %t, %q", ok, why)
	}
}
