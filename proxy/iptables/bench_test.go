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

// sizes runs a benchmark for both variants at several numbers of Services. Choose one by
// name, for example -bench 'Change/nft-1000$'.
func sizes(b *testing.B, f func(b *testing.B, variant string, n int), numbers ...int) {
	Namespaces(b)
	for _, variant := range []string{"nft", "legacy"} {
		for _, n := range numbers {
			b.Run(fmt.Sprintf("%s-%d", variant, n), func(b *testing.B) { f(b, variant, n) })
		}
	}
}

// From nothing to everything in the kernel, five endpoints each.
func BenchmarkFull(b *testing.B) {
	sizes(b, func(b *testing.B, variant string, n int) {
		s := Many(n, 5)
		for b.Loop() {
			full(b, start(b, NewPlace(b, "node"), variant), s)
		}
	}, 0, 1000, 10_000)
}

// One Service more or fewer, its first endpoint, one endpoint more or fewer, all in the
// presence of many others; and a full sync that finds nothing to do.
func BenchmarkChange(b *testing.B) {
	svc := Service("prog", "prog", "10.97.0.1")
	none, first, second := Planned(svc, Port), Planned(svc, Port, Pods("a")...), Planned(svc, Port, Pods("ab")...)
	sizes(b, func(b *testing.B, variant string, n int) {
		s := Many(n, 5)
		a := start(b, NewPlace(b, "node"), variant)
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
		b.Run("check", func(b *testing.B) {
			for b.Loop() {
				full(b, a, s)
			}
		})
	}, 1000, 10_000)
}
