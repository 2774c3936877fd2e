package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// script is a backend that remembers what was asked of it and when, and fails on demand.
type script struct {
	calls   []call
	fail    int           // so many of the next calls fail
	takes   time.Duration // each
	flushed atomic.Bool
}

type call struct {
	at       time.Duration // since the beginning
	full     bool
	services int
}

var began time.Time

func (s *script) record(full bool, services int) (plan.Report, error) {
	s.calls = append(s.calls, call{time.Since(began), full, services})
	time.Sleep(s.takes)
	if s.fail > 0 {
		s.fail--
		return plan.Report{}, errors.New("it was told to fail")
	}
	return plan.Report{}, nil
}

func (s *script) Start(context.Context) error { return nil }
func (s *script) Full(_ context.Context, all plan.Snapshot) (plan.Report, error) {
	return s.record(true, len(all.Services))
}
func (s *script) Change(_ context.Context, changes []plan.Change) (plan.Report, error) {
	return s.record(false, len(changes))
}
func (s *script) Intact(context.Context) (bool, error) { return !s.flushed.Load(), nil }

// looped runs the loop of a Proxy over a scripted backend, without any informer at work,
// for as long as f takes.
// known Services have so many endpoints from the beginning.
func looped(t *testing.T, s *script, known map[string]int, tweak func(*Config), f func(p *Proxy, add func(name string, endpoints int))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		cfg := Defaults()
		cfg.NodeName, cfg.Log = flowtest.Here, slog.New(slog.DiscardHandler)
		tweak(&cfg)
		p, err := newProxy(cfg, fake.NewClientset())
		if err != nil {
			t.Fatal(err)
		}
		p.families[0].backend = s
		in := p.newInformers()
		add := func(name string, endpoints int) {
			svc := flowtest.Service("ns", name, "10.96.0.9")
			_ = in.services.GetStore().Add(svc)
			_ = in.slices.GetStore().Add(flowtest.Slice(svc, 80, flowtest.Endpoints(0, endpoints)...))
			p.queue.add(plan.Name{Namespace: "ns", Name: name}, time.Time{})
		}
		for name, endpoints := range known {
			add(name, endpoints)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { p.loop(ctx, in); close(done) }()
		f(p, add)
		cancel()
		<-done
	})
}

func expect(t *testing.T, s *script, want ...call) {
	t.Helper()
	if len(s.calls) != len(want) {
		t.Fatalf("calls %v, want %v", s.calls, want)
	}
	for i := range want {
		if s.calls[i] != want[i] {
			t.Fatalf("call %d is %v, want %v", i, s.calls[i], want[i])
		}
	}
}

const ms = time.Millisecond

// Whatever is known at the start is one full sync, and each later event a change of its
// own Service at once (P2, P45, P49).
func TestP2P45FirstFullThenChanges(t *testing.T) {
	s := &script{takes: 10 * ms}
	looped(t, s, map[string]int{"a": 1, "b": 1}, func(*Config) {}, func(p *Proxy, add func(string, int)) {
		<-p.Ready()
		time.Sleep(90 * ms)
		add("c", 1)
		time.Sleep(50 * ms)
	})
	expect(t, s, call{0, true, 2}, call{100 * ms, false, 1})
}

// What happens during a sync shares the next.
func TestP49EventsCoalesce(t *testing.T) {
	s := &script{takes: 10 * ms}
	looped(t, s, nil, func(*Config) {}, func(p *Proxy, add func(string, int)) {
		<-p.Ready()
		add("a", 1)
		time.Sleep(ms)
		for range 100 {
			add("b", 1)
			add("c", 1)
		}
		time.Sleep(50 * ms)
	})
	expect(t, s, call{0, true, 0}, call{10 * ms, false, 1}, call{20 * ms, false, 2})
}

func TestP49MinSyncPeriod(t *testing.T) {
	s := &script{takes: 10 * ms}
	looped(t, s, nil, func(c *Config) { c.MinSyncPeriod = time.Second }, func(p *Proxy, add func(string, int)) {
		<-p.Ready()
		for _, name := range []string{"a", "b", "c"} {
			add(name, 1)
			time.Sleep(100 * ms)
		}
		time.Sleep(2 * time.Second)
	})
	expect(t, s, call{0, true, 0}, call{time.Second, false, 3})
}

// After a failure the next sync is a full one, after a growing delay, and it is only
// then that the Proxy is ready or healthy (P45).
func TestP45FailureThenFull(t *testing.T) {
	s := &script{}
	looped(t, s, nil, func(*Config) {}, func(p *Proxy, add func(string, int)) {
		<-p.Ready()
		s.fail = 3
		add("a", 1)
		synctest.Wait()
		if !pending(p) {
			t.Error("a failed update is not pending")
		}
		time.Sleep(5 * time.Second)
		if pending(p) {
			t.Error("an update is pending after success")
		}
	})
	expect(t, s, call{0, true, 0}, call{0, false, 1}, call{100 * ms, true, 1}, call{300 * ms, true, 1}, call{700 * ms, true, 1})
}

// pending tells whether an update waits for its effect.
func pending(p *Proxy) bool {
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	return !p.health.families[plan.IPv4].pending.IsZero()
}

// A small set of rules is compared as a whole every SyncPeriod, a large one only when
// the canary is gone or an hour has passed (P45, P48).
func TestP48RegularChecks(t *testing.T) {
	small := &script{}
	looped(t, small, nil, func(*Config) {}, func(p *Proxy, _ func(string, int)) { time.Sleep(65 * time.Second) })
	expect(t, small, call{0, true, 0}, call{30 * time.Second, true, 0}, call{60 * time.Second, true, 0})

	large := &script{}
	looped(t, large, map[string]int{"a": largeCluster + 1}, func(*Config) {}, func(*Proxy, func(string, int)) {
		time.Sleep(time.Hour + 45*time.Second)
		large.flushed.Store(true)
		time.Sleep(50 * time.Second)
	})
	if n := len(large.calls); n != 4 || large.calls[1].at < time.Hour {
		t.Errorf("want a full sync at the start, one after an hour and one per SyncPeriod without canary: %v", large.calls)
	}
}

// Health is about updates that wait too long (P50).
func TestP50Health(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		h := newHealth(cfg, newMetrics())
		healthy := func(want bool) {
			t.Helper()
			if got := h.alive(); got != want {
				t.Errorf("after %v: healthy=%v, want %v", time.Since(began), got, want)
			}
		}
		began = time.Now()
		healthy(true)
		time.Sleep(61 * time.Second)
		healthy(false) // it never synced
		h.updated(plan.IPv4)
		healthy(true)
		time.Sleep(time.Hour)
		healthy(true) // nothing to do
		h.pending(plan.IPv4, time.Now())
		time.Sleep(59 * time.Second)
		healthy(true)
		h.pending(plan.IPv4, time.Now()) // another attempt at the same
		time.Sleep(2 * time.Second)
		healthy(false)
	})
}

func TestP36Stale(t *testing.T) {
	var flows udpFlows
	udp := func(s *corev1.Service) { flowtest.Protocol(corev1.ProtocolUDP)(s) }
	flows.add(flowtest.Planned(flowtest.Service("ns", "dns", "10.96.0.10", flowtest.LoadBalancer(30053, "172.30.100.1"), udp), 53,
		flowtest.Endpoint{Addr: "10.244.1.2"}, flowtest.Endpoint{Addr: "10.244.1.3", Terminating: true}, flowtest.Endpoint{Addr: "10.244.1.4", NotReady: true}))
	flows.add(flowtest.Planned(flowtest.Service("ns", "empty", "10.96.0.11", udp), 53))
	flows.add(flowtest.Planned(flowtest.Service("ns", "tcp", "10.96.0.12"), 53, flowtest.Endpoint{Addr: "10.244.1.2"}))
	for _, row := range []struct {
		to, answers string
		want        bool
	}{
		{"10.96.0.10:80", "10.244.1.2:53", false},
		{"10.96.0.10:80", "10.244.1.3:53", false}, // it terminates, but serves on
		{"10.96.0.10:80", "10.244.1.4:53", true},
		{"10.96.0.10:80", "10.244.9.9:53", true},
		{"10.96.0.10:80", "10.96.0.10:80", true}, // it began before the rules
		{"10.96.0.10:81", "10.244.9.9:53", false},
		{"172.30.100.1:80", "10.244.9.9:53", true},
		{"172.30.0.11:30053", "10.244.9.9:53", true},
		{"172.30.0.11:30053", "10.244.1.2:53", false},
		{"10.96.0.11:80", "10.244.9.9:53", false}, // no endpoints: nowhere to go
		{"10.96.0.12:80", "10.244.9.9:53", false}, // TCP
	} {
		to, answers := netip.MustParseAddrPort(row.to), netip.MustParseAddrPort(row.answers)
		flow := &netlink.ConntrackFlow{
			Forward: netlink.IPTuple{Protocol: unix.IPPROTO_UDP, DstIP: to.Addr().AsSlice(), DstPort: to.Port()},
			Reverse: netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: answers.Addr().AsSlice(), SrcPort: answers.Port()},
		}
		if got := flows.MatchConntrackFlow(flow); got != row.want {
			t.Errorf("flow to %s answered by %s: stale=%v, want %v", row.to, row.answers, got, row.want)
		}
		flow.Forward.Protocol = unix.IPPROTO_TCP
		if flows.MatchConntrackFlow(flow) {
			t.Errorf("a TCP flow to %s is called stale", row.to)
		}
	}
}
