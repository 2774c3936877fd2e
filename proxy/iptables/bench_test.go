package iptables

import (
	"context"
	"fmt"
	"testing"

	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// What the rules of one Service with five endpoints cost to make.
func BenchmarkRules(b *testing.B) {
	s := settings()
	svc := Planned(Numbered(1), Port, Endpoints(1, 5)...)
	b.ReportAllocs()
	for b.Loop() {
		s.Service(svc)
	}
}

// From nothing to everything in the kernel.
func BenchmarkFull(b *testing.B) {
	Namespaces(b)
	for _, n := range []int{0, 1000, 10_000} {
		for _, variant := range []string{"nft", "legacy"} {
			b.Run(fmt.Sprintf("%s/services=%d", variant, n), func(b *testing.B) {
				s := Many(n, 5)
				for b.Loop() {
					h := NewPlace(b, "node")
					full(b, start(b, h, variant), s)
				}
			})
		}
	}
}

// One Service more endpoints, one fewer, in the presence of many others; and a full sync
// that finds nothing to do.
func BenchmarkChange(b *testing.B) {
	Namespaces(b)
	for _, n := range []int{1000, 10_000} {
		for _, variant := range []string{"nft", "legacy"} {
			s := Many(n, 5)
			a := start(b, NewPlace(b, "node"), variant)
			full(b, a, s)
			name := func(what string) string { return fmt.Sprintf("%s/services=%d/%s", variant, n, what) }
			svc := Service("prog", "prog", "10.97.0.1")
			states := []*plan.Service{Planned(svc, Port), Planned(svc, Port, Pods("a")...), Planned(svc, Port, Pods("ab")...)}
			flip := func(b *testing.B, from, to *plan.Service) {
				for i := 0; b.Loop(); i++ {
					c := plan.Change{Old: from, New: to}
					if i%2 == 1 {
						c = plan.Change{Old: to, New: from}
					}
					if _, err := a.Change(context.Background(), []plan.Change{c}); err != nil {
						b.Fatal(err)
					}
				}
				if b.N%2 == 1 {
					if _, err := a.Change(context.Background(), []plan.Change{{Old: to, New: from}}); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.Run(name("service"), func(b *testing.B) { flip(b, nil, states[1]) })
			if _, err := a.Change(context.Background(), []plan.Change{{New: states[0]}}); err != nil {
				b.Fatal(err)
			}
			b.Run(name("none-one"), func(b *testing.B) { flip(b, states[0], states[1]) })
			if _, err := a.Change(context.Background(), []plan.Change{{Old: states[0], New: states[1]}}); err != nil {
				b.Fatal(err)
			}
			b.Run(name("one-two"), func(b *testing.B) { flip(b, states[1], states[2]) })
			s.Services[states[1].Name] = states[1]
			b.Run(name("check"), func(b *testing.B) {
				for b.Loop() {
					full(b, a, s)
				}
			})
		}
	}
}
