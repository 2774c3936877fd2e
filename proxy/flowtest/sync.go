package flowtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/proxy/plan"
)

// RandomService is any Service, with any endpoints, of a name out of ten. Some claim
// what belongs to others.
func RandomService(r *rand.Rand) *plan.Service {
	n := r.IntN(10)
	var tweaks []Tweak
	maybe := func(t ...Tweak) {
		if r.IntN(3) == 0 {
			tweaks = append(tweaks, t[r.IntN(len(t))])
		}
	}
	maybe(NodePort(int32(30000+n)), LoadBalancer(int32(30000+n)), LoadBalancer(int32(30000+n), fmt.Sprintf("172.30.100.%d", n+1)))
	maybe(ExternalIPs(fmt.Sprintf("10.99.0.%d", n)), ExternalIPs("10.99.0.1", "10.99.0.2"), ExternalIPs("10.96.0.3"))
	maybe(ExternalLocal(int32(31000 + n)))
	maybe(InternalLocal)
	maybe(Affinity(10), Affinity(20))
	maybe(SourceRanges("172.30.0.0/24"), SourceRanges("10.0.0.0/8", "10.244.0.0/16", "192.168.0.0/16"), SourceRanges("0.0.0.0/0"))
	maybe(Protocol(corev1.ProtocolUDP), Protocol(corev1.ProtocolSCTP))
	maybe(func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	var endpoints []Endpoint
	for range r.IntN(5) {
		e := Endpoint{Addr: fmt.Sprintf("10.244.%d.%d", r.IntN(2), r.IntN(20)), NotReady: r.IntN(4) == 0, Terminating: r.IntN(4) == 0}
		if r.IntN(2) == 0 {
			e.Node = Here
		}
		endpoints = append(endpoints, e)
	}
	return Planned(Service("ns", fmt.Sprintf("s%d", n), fmt.Sprintf("10.96.0.%d", n+1), tweaks...), 8080, endpoints...)
}

// After any sequence of changes the kernel holds what a full sync from nothing would
// have put there.
func testChangesEqualFull(t *testing.T, p Plane) {
	rounds, compared := 60, 20
	if testing.Short() {
		rounds, compared = 8, 4
	}
	r := rand.New(rand.NewPCG(1, 2))
	a := p.Start(t, NewPlace(t, "changed"), Knobs{})
	current := Snapshot()
	a.Sync(t, current)
	for round := range rounds {
		next := Snapshot()
		for name, svc := range current.Services {
			next.Services[name] = svc
		}
		for range 1 + r.IntN(3) {
			svc := RandomService(r)
			if next.Services[svc.Name] = svc; r.IntN(4) == 0 {
				delete(next.Services, svc.Name)
			}
		}
		a.Move(t, current, next)
		current = next
		a.Holds(t, current)
		if round%compared == compared-1 {
			a.Sync(t, current) // removes what no endpoint count needs any more
			fresh := p.Start(t, NewPlace(t, "fresh"), Knobs{})
			fresh.Sync(t, current)
			p.same(t, fresh, a)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// same fails the test unless two kernels hold the same rules.
func (p Plane) same(t *testing.T, want, got Applied) {
	t.Helper()
	if diff := cmp.Diff(p.Listing(t, want.host), p.Listing(t, got.host)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Damage is what somebody else does to a plane's rules: commands, and how soon the plane
// has to see it.
type Damage struct {
	Commands []string
	Flush    bool // the cheap check notices, too
}

// Repairs: a full sync with nothing to do writes nothing, and one after damage makes the
// rules what they were (P45, P48).
func Repairs(t *testing.T, p Plane, s plan.Snapshot, all []Damage) {
	p.Have(t)
	a := p.Start(t, NewPlace(t, "node"), Knobs{})
	a.Sync(t, s)
	want := p.Listing(t, a.host)
	if report := a.Sync(t, s); report.Batches != 0 {
		t.Errorf("a second full sync made %d transactions for %v", report.Batches, report.Written)
	}
	a.Holds(t, s)
	for _, d := range all {
		for _, command := range d.Commands {
			Run(t, a.host, command)
		}
		intact, err := a.Intact(context.Background())
		if err != nil || intact && d.Flush {
			t.Errorf("%v: intact=%v, error %v", d.Commands, intact, err)
		}
		if differences, err := a.Check(context.Background(), s); intact && err == nil && len(differences) == 0 {
			t.Errorf("%v: not noticed", d.Commands)
		}
		a.Sync(t, s)
		a.Holds(t, s)
		if diff := cmp.Diff(want, p.Listing(t, a.host)); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", d.Commands, diff)
		}
	}
}

// Cleanup leaves nothing of ours, of either family, and everything of others.
func testCleanup(t *testing.T, p Plane) {
	h := NewPlace(t, "node")
	for _, command := range p.Foreign {
		Run(t, h, command)
	}
	foreign := p.Listing(t, h)
	p.Start(t, h, Knobs{}).Sync(t, Snapshot(Planned(Service("ns1", "svc1", vip, everything...), Port, Pods("abc")...), Planned(Service("ns1", "svc2", "10.96.0.42"), Port)))
	v6 := Snapshot(Planned(Service("ns1", "svc1", "fd00:10:96::29"), Port))
	v6.Local = plan.Local{}
	p.Start(t, h, Knobs{Family: plan.IPv6}).Sync(t, v6)
	if !slices.ContainsFunc(p.Listing(t, h), p.ours) {
		t.Fatalf("no line of the listing has %q: the test proves nothing", p.Ours)
	}
	for range 2 {
		if err := p.Cleanup(context.Background(), h); err != nil {
			t.Fatal(err)
		}
		rest := p.Listing(t, h)
		if i := slices.IndexFunc(rest, p.ours); i >= 0 {
			t.Errorf("left behind: %s", rest[i])
		}
		for _, line := range foreign {
			if !slices.Contains(rest, line) {
				t.Errorf("%q is gone", line)
			}
		}
	}
}

func (p Plane) ours(line string) bool { return strings.Contains(line, p.Ours) }

// Transactions of any size lead to the same rules, also where a Service has more
// endpoints than fit into one.
func testSmallTransactions(t *testing.T, p Plane) {
	s := Many(30, 8)
	s.Services[plan.Name{Namespace: "load", Name: "wide"}] = Planned(Service("load", "wide", "10.97.0.1"), Port, Endpoints(1000, 120)...)
	whole := p.Start(t, NewPlace(t, "whole"), Knobs{})
	whole.Sync(t, s)
	pieces := p.Start(t, NewPlace(t, "pieces"), Knobs{})
	p.Small(pieces.Backend)
	if report := pieces.Sync(t, s); report.Batches < 30 {
		t.Errorf("only %d transactions", report.Batches)
	}
	pieces.Holds(t, s)
	p.same(t, whole, pieces)
}

// A proxy that starts where another has been writes nothing that is there already, and
// goes on from it.
func testTakesOver(t *testing.T, p Plane) {
	svc6 := Service("ns1", "svc1", "fd00:10:96::29", Affinity(60))
	for family, s := range map[plan.Family]plan.Snapshot{
		plan.IPv4: Many(20, 4),
		plan.IPv6: Snapshot(Planned(svc6, 80, Endpoint{Addr: "fd00:10:244::2"}, Endpoint{Addr: "fd00:10:244::3"})),
	} {
		s.Local = plan.Local{}
		place := NewPlace(t, string(family))
		p.Start(t, place, Knobs{Family: family}).Sync(t, s)
		heir := p.Start(t, place, Knobs{Family: family})
		for what, n := range heir.Sync(t, s).Written {
			if n > 0 {
				t.Errorf("%s: wrote %d %s again", family, n, what)
			}
		}
		heir.Holds(t, s)
	}
}

// IPv6 is the same code with longer addresses.
func testIPv6Rules(t *testing.T, p Plane) {
	a := p.Start(t, NewPlace(t, "node"), Knobs{Family: plan.IPv6})
	svc := Service("ns1", "svc1", "fd00:10:96::29", LoadBalancer(30080, "fd00:100::1"), Affinity(60), ExternalLocal(0), SourceRanges("fd00:172::/32"))
	before := Snapshot(Planned(svc, 80, Endpoint{Addr: "fd00:10:244::2"}, Endpoint{Addr: "fd00:10:244::3", Node: Here}))
	before.Local = plan.Local{}
	a.Sync(t, before)
	a.Holds(t, before)
	if report := a.Sync(t, before); report.Batches != 0 {
		t.Errorf("a second full sync made %d transactions", report.Batches)
	}
	after := Snapshot(Planned(svc, 80))
	after.Local = plan.Local{}
	a.Move(t, before, after)
	a.Holds(t, after)
}
