package iptables

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// randomService is any Service, with any endpoints, of a name out of ten.
func randomService(r *rand.Rand) *plan.Service {
	n := r.IntN(10)
	var tweaks []Tweak
	maybe := func(t ...Tweak) {
		if r.IntN(3) == 0 {
			tweaks = append(tweaks, t[r.IntN(len(t))])
		}
	}
	maybe(NodePort(int32(30000+n)), LoadBalancer(int32(30000+n)), LoadBalancer(int32(30000+n), fmt.Sprintf("172.30.100.%d", n+1)))
	maybe(ExternalIPs(fmt.Sprintf("10.99.0.%d", n)), ExternalIPs(fmt.Sprintf("10.99.0.%d", n), fmt.Sprintf("10.99.1.%d", n)))
	maybe(ExternalLocal(int32(31000 + n)))
	maybe(InternalLocal)
	maybe(Affinity(10), Affinity(20))
	maybe(SourceRanges("172.30.0.0/24"), SourceRanges("10.0.0.0/8", "192.168.0.0/16"), SourceRanges("0.0.0.0/0"))
	maybe(Protocol(corev1.ProtocolUDP), Protocol(corev1.ProtocolSCTP))
	maybe(func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	var endpoints []Endpoint
	for i := range r.IntN(5) {
		e := Endpoint{Addr: fmt.Sprintf("10.244.%d.%d", r.IntN(2), n*10+i), NotReady: r.IntN(4) == 0, Terminating: r.IntN(4) == 0}
		if r.IntN(2) == 0 {
			e.Node = Here
		}
		endpoints = append(endpoints, e)
	}
	return Planned(Service("ns", fmt.Sprintf("s%d", n), fmt.Sprintf("10.96.0.%d", n+1), tweaks...), 8080, endpoints...)
}

// After any sequence of changes the kernel holds what a full sync from nothing would
// have put there.
func TestChangesEqualFull(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		r := rand.New(rand.NewPCG(1, 2))
		a := start(t, NewPlace(t, "changed"), variant)
		current := Snapshot()
		full(t, a, current)
		for round := range 60 {
			next := Snapshot()
			for name, svc := range current.Services {
				next.Services[name] = svc
			}
			for range 1 + r.IntN(3) {
				svc := randomService(r)
				if next.Services[svc.Name] = svc; r.IntN(4) == 0 {
					delete(next.Services, svc.Name)
				}
			}
			change(t, a, current, next)
			current = next
			intact(t, a, current)
			if round%20 == 19 {
				fresh := start(t, NewPlace(t, "fresh"), variant)
				full(t, fresh, current)
				if diff := cmp.Diff(saved(t, fresh), saved(t, a)); diff != "" {
					t.Fatalf("round %d (-fresh +changed):\n%s", round, diff)
				}
			}
			if t.Failed() {
				t.Fatalf("round %d", round)
			}
		}
	})
}

// A full sync with nothing to do writes nothing, and repairs exactly what is wrong (P45).
func TestFullRepairs(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		h := NewPlace(t, "node")
		a := start(t, h, variant)
		s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), Affinity(60)), Port, Pods("abc")...),
			Planned(Service("ns1", "svc2", "10.96.0.42"), Port))
		full(t, a, s)
		want := saved(t, a)
		if report := full(t, a, s); report.Batches != 0 {
			t.Errorf("a second full sync ran iptables-restore %d times for %v lines", report.Batches, report.Written)
		}
		svcChain := prefixCluster + chainHash(plan.PortName{Name: plan.Name{Namespace: "ns1", Name: "svc1"}, Port: "p80", Protocol: "TCP"}, "")
		for _, damage := range [][]string{
			{"-t nat -F"}, {"-t nat -F KUBE-SERVICES"}, {"-F", "-t nat -D KUBE-SERVICES 1"},
			{"-t nat -F " + svcChain}, {"-t nat -D " + svcChain + " 2"}, {"-t nat -D PREROUTING 1"},
			{"-t nat -A KUBE-SERVICES -d 1.2.3.4 -j ACCEPT"}, {"-t nat -I KUBE-SERVICES -j RETURN"},
			{"-t nat -N KUBE-SVC-STALE", "-t nat -N KUBE-SEP-STALE", "-t nat -A KUBE-SVC-STALE -j KUBE-SEP-STALE"},
			{"-A KUBE-FORWARD -j DROP"}, {"-I INPUT 1 -j KUBE-FIREWALL"}, {"-F KUBE-SERVICES"},
			{"-F", "-X", "-t nat -F", "-t nat -X"},
		} {
			for _, d := range damage {
				args := strings.Fields(d)
				if out, err := h.Command(context.Background(), "iptables-"+variant, args...).Output(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if lines, err := a.Check(context.Background(), s); err != nil || len(lines) == 0 {
				t.Errorf("%v: not noticed (error %v)", damage, err)
			}
			full(t, a, s)
			intact(t, a, s)
			if diff := cmp.Diff(want, saved(t, a)); diff != "" {
				t.Errorf("after %v (-want +got):\n%s", damage, diff)
			}
		}
	})
}

// The canary shows a flush without a look at all rules (P48).
func TestP48Canary(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		h := NewPlace(t, "node")
		a := start(t, h, variant)
		full(t, a, Snapshot())
		for _, table := range []string{"nat", "filter", "mangle"} {
			if ok, err := a.Intact(context.Background()); err != nil || !ok {
				t.Fatalf("intact=%v, error %v before the flush", ok, err)
			}
			for _, command := range []string{"-F", "-X"} {
				if out, err := h.Command(context.Background(), "iptables-"+variant, "-t", table, command).Output(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if ok, err := a.Intact(context.Background()); err != nil || ok {
				t.Errorf("table %s: intact=%v, error %v after the flush", table, ok, err)
			}
			full(t, a, Snapshot())
		}
	})
}

// Cleanup leaves nothing of ours and everything of others (P40).
func TestP40Cleanup(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		h := NewPlace(t, "node")
		a := start(t, h, variant)
		for _, rule := range []string{"-A INPUT -s 192.0.2.1/32 -j DROP", "-N MINE"} {
			if _, err := h.Command(context.Background(), "iptables-"+variant, strings.Fields(rule)...).Output(); err != nil {
				t.Fatal(err)
			}
		}
		full(t, a, Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", LoadBalancer(30080, "172.30.100.1"), SourceRanges("10.0.0.0/8")), Port, Pods("abc")...),
			Planned(Service("ns1", "svc2", "10.96.0.42"), Port)))
		if err := CleanupAll(context.Background(), h); err != nil {
			t.Fatal(err)
		}
		rest := saved(t, a)
		for _, line := range rest {
			if strings.Contains(line, "KUBE-") {
				t.Errorf("left behind: %s", line)
			}
		}
		for _, mine := range []string{"*filter -A INPUT -s 192.0.2.1/32 -j DROP", "*filter :MINE -"} {
			if !slices.Contains(rest, mine) {
				t.Errorf("%q is gone", mine)
			}
		}
	})
}

// Transactions of any size lead to the same rules, also where a chain has more rules
// than a transaction may.
func TestSmallBatches(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		s := Many(30, 8)
		s.Services[plan.Name{Namespace: "load", Name: "wide"}] = Planned(Service("load", "wide", "10.97.0.1"), Port, Endpoints(1000, 120)...)
		whole := start(t, NewPlace(t, "whole"), variant)
		full(t, whole, s)
		pieces := start(t, NewPlace(t, "pieces"), variant)
		pieces.limit = 25
		if report := full(t, pieces, s); report.Batches < 30 {
			t.Errorf("only %d batches", report.Batches)
		}
		intact(t, pieces, s)
		if diff := cmp.Diff(saved(t, whole), saved(t, pieces)); diff != "" {
			t.Errorf("(-whole +pieces):\n%s", diff)
		}
	})
}

// In a user namespace the kernel refuses large transactions; smaller ones must do.
func TestTooLongForAUser(t *testing.T) {
	Namespaces(t)
	if privileged() {
		t.Skip("root may send transactions of any size; TestAsUser comes here again")
	}
	a := start(t, NewPlace(t, "node"), "nft")
	a.limit = linesPrivileged
	s := Many(300, 2)
	full(t, a, s)
	if a.limit >= linesPrivileged {
		t.Error("no transaction was too large: the test proves nothing")
	}
	intact(t, a, s)
}

func TestAsUser(t *testing.T) {
	AsUser(t, "^(TestFlows|TestChangesEqualFull|TestFullRepairs|TestP40Cleanup|TestTooLongForAUser)$")
}

// The error says which package to install.
func TestMissingProgram(t *testing.T) {
	a := New(Config{Family: plan.IPv4, Variant: "missing"})
	err := a.Start(context.Background())
	if err == nil || !strings.Contains(err.Error(), "iptables-missing") || !strings.Contains(err.Error(), "apt install iptables") {
		t.Errorf("error %v", err)
	}
	if _, err = a.Full(context.Background(), Snapshot()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// IPv6 is the same code with other programs and words (P38).
func TestP38IPv6(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		a := start(t, NewPlace(t, "node"), variant, func(c *Config) { c.Family = plan.IPv6 })
		if _, err := host.LookPath(a.programs.name("-restore")); err != nil {
			t.Skip(err)
		}
		svc := Service("ns1", "svc1", "fd00:10:96::29", NodePort(30080), Affinity(60), ExternalLocal(0))
		before := Snapshot(Planned(svc, 80, Endpoint{Addr: "fd00:10:244::2"}, Endpoint{Addr: "fd00:10:244::3", Node: Here}))
		before.Local = plan.Local{}
		full(t, a, before)
		intact(t, a, before)
		after := Snapshot(Planned(svc, 80))
		change(t, a, before, after)
		after.Local = plan.Local{}
		intact(t, a, after)
	})
}
