package ipvs

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// scheduled starts a data plane with a scheduler, for a Service with some Pods.
func scheduled(t *testing.T, w *World, scheduler string, s plan.Snapshot) Applied {
	t.Helper()
	p := plane
	p.New = func(h *host.Host, k Knobs) Backend {
		cfg := config(h, k)
		cfg.Scheduler = scheduler
		return New(cfg)
	}
	a := p.Start(t, w.Node, Knobs{})
	a.Sync(t, s)
	a.Holds(t, s)
	return a
}

func service(pods string) plan.Snapshot {
	return Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods(pods)...))
}

// answers are who answers connections one after the other.
func answers(t *testing.T, w *World, from string, n int) (seen string) {
	t.Helper()
	for range n {
		name, _, err := w.Ask(Flow{From: from, To: "10.96.0.41:80"}, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		seen += name
	}
	return seen
}

// Each scheduler chooses in its own way. The tables of rr and wrr are a matter of order,
// those of sh of the client's address; lc and its kin look at connections that are open.
func TestSchedulers(t *testing.T) {
	plane.Have(t)
	w := NewWorld(t)
	t.Run("rr", func(t *testing.T) {
		scheduled(t, w, "rr", service("abc"))
		inTurn(t, answers(t, w, "b", 12))
	})
	t.Run("wrr", func(t *testing.T) { // all weigh the same
		scheduled(t, w, "wrr", service("abc"))
		inTurn(t, answers(t, w, "b", 12))
	})
	t.Run("sh", func(t *testing.T) {
		scheduled(t, w, "sh", service("abc"))
		for _, from := range []string{"a", "b", "outside"} {
			if got := answers(t, w, from, 6); strings.Trim(got, got[:1]) != "" {
				t.Errorf("%s was answered by %s, want the same each time", from, got)
			}
		}
	})
	for i, scheduler := range []string{"lc", "wlc", "sed", "nq"} {
		// Each with an address of its own: what connections there were counts.
		t.Run(scheduler, func(t *testing.T) { idleFirst(t, w, scheduler, fmt.Sprintf("10.96.1.%d", i)) })
	}
	scheduled(t, w, "rr", Snapshot())
	for _, scheduler := range []string{"lblc", "lblcr", "dh", "mh", "fo", "ovf"} { // the kernel has them, too
		t.Run(scheduler, func(t *testing.T) {
			scheduled(t, w, scheduler, service("a"))
			if got := answers(t, w, "b", 3); got != "aaa" {
				t.Errorf("answered by %s", got)
			}
		})
	}
}

// inTurn fails the test unless each of three answered in its turn.
func inTurn(t *testing.T, seen string) {
	t.Helper()
	turn := seen[:3]
	if strings.Repeat(turn, len(seen)/3) != seen || len(distinct(seen)) != 3 {
		t.Errorf("%s answered, want three strictly in turn", seen)
	}
}

func distinct(text string) map[rune]bool {
	all := map[rune]bool{}
	for _, r := range text {
		all[r] = true
	}
	return all
}

// idleFirst opens connections that stay: each goes to a Pod that has none yet.
func idleFirst(t *testing.T, w *World, scheduler, vip string) {
	const port = 9191
	accepted := make(chan string)
	var listeners []net.Listener
	for _, name := range []string{"a", "b", "c"} {
		ln, err := w.Place(name).Listen(context.Background(), "tcp", ":9191")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, ln)
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					accepted <- ""
					return
				}
				defer conn.Close()
				accepted <- name
			}
		}()
	}
	defer func() {
		for _, ln := range listeners {
			ln.Close()
		}
		for range listeners {
			<-accepted
		}
	}()
	svc := Service("ns1", scheduler, vip)
	scheduled(t, w, scheduler, Snapshot(Planned(svc, port, Pods("abc")...)))
	seen := map[string]bool{}
	for range 3 {
		conn, err := w.Dial("outside", "tcp", vip+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		seen[<-accepted] = true
	}
	if len(seen) != 3 {
		t.Errorf("three connections that stayed went to %v, want one to each", slices.Sorted(maps.Keys(seen)))
	}
}
