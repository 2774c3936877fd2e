package nftables

import (
	"context"
	"fmt"
	"testing"

	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

func sizes(b *testing.B, f func(b *testing.B, n int)) {
	Namespaces(b)
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { f(b, n) })
	}
}

// From nothing to everything in the kernel, five endpoints each.
func BenchmarkFull(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		s := Many(n, 5)
		b.ReportAllocs()
		for b.Loop() {
			full(b, start(b, NewPlace(b, "node")), s)
		}
	})
}

// One Service more or fewer, its first endpoint, one endpoint more or fewer, all in the
// presence of many others; then a full sync that finds nothing to do, the check where
// nobody was there, and where somebody was.
func BenchmarkChange(b *testing.B) {
	svc := Service("prog", "prog", "10.97.0.1")
	none, first, second := Planned(svc, Port), Planned(svc, Port, Pods("a")...), Planned(svc, Port, Pods("ab")...)
	sizes(b, func(b *testing.B, n int) {
		s := Many(n, 5)
		a := start(b, NewPlace(b, "node"))
		full(b, a, s)
		move := func(b *testing.B, from, to *plan.Service) {
			if _, err := a.Change(context.Background(), []plan.Change{{Old: from, New: to}}); err != nil {
				b.Fatal(err)
			}
		}
		flip := func(from, to *plan.Service) func(b *testing.B) {
			return func(b *testing.B) {
				for b.Loop() {
					move(b, from, to)
					from, to = to, from
				}
				if b.N%2 == 1 {
					move(b, from, to)
				}
			}
		}
		b.Run("service", flip(nil, first))
		move(b, nil, none)
		b.Run("first-endpoint", flip(none, first))
		move(b, none, first)
		b.Run("second-endpoint", flip(first, second))
		s.Services[first.Name] = first
		b.Run("full", func(b *testing.B) {
			for b.Loop() {
				full(b, a, s)
			}
		})
		for _, alone := range []bool{true, false} {
			b.Run(fmt.Sprintf("intact-alone=%v", alone), func(b *testing.B) {
				for b.Loop() {
					if !alone {
						a.generation = 0
					}
					if ok, err := a.Intact(context.Background()); err != nil || !ok {
						b.Fatalf("intact=%v, error %v", ok, err)
					}
				}
			})
		}
	})
}
