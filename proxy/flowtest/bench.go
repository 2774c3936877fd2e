package flowtest

import (
	"context"
	"fmt"
	"testing"

	"orrery.example.org/proxy/plan"
)

// sizes runs a benchmark for planes at several numbers of Services. Choose one by name,
// for example -bench 'Change/iptables-nft/1000$'.
func sizes(b *testing.B, planes []Plane, numbers []int, f func(b *testing.B, p Plane, n int)) {
	for _, p := range planes {
		b.Run(p.Name, func(b *testing.B) {
			p.Have(b)
			for _, n := range numbers {
				b.Run(fmt.Sprint(n), func(b *testing.B) { f(b, p, n) })
			}
		})
	}
}

// BenchmarkFull goes from nothing to everything in the kernel, five endpoints each.
func BenchmarkFull(b *testing.B, planes ...Plane) {
	sizes(b, planes, []int{0, 1000, 10_000}, func(b *testing.B, p Plane, n int) {
		s := Many(n, 5)
		b.ReportAllocs()
		for b.Loop() {
			p.Start(b, NewPlace(b, "node"), Knobs{}).Sync(b, s)
		}
	})
}

// BenchmarkChange has one Service more or fewer, its first endpoint, one endpoint more or
// fewer, all in the presence of many others; then a full sync that finds nothing to do,
// and the cheap check.
func BenchmarkChange(b *testing.B, planes ...Plane) {
	svc := Service("prog", "prog", "10.97.0.1")
	none, first, second := Planned(svc, Port), Planned(svc, Port, Pods("a")...), Planned(svc, Port, Pods("ab")...)
	sizes(b, planes, []int{1000, 10_000}, func(b *testing.B, p Plane, n int) {
		s, h := Many(n, 5), NewPlace(b, "node")
		a := p.Start(b, h, Knobs{})
		a.Sync(b, s)
		b.Run("service", func(b *testing.B) { a.flip(b, nil, first) })
		a.change(b, nil, none)
		b.Run("first-endpoint", func(b *testing.B) { a.flip(b, none, first) })
		a.change(b, none, first)
		b.Run("second-endpoint", func(b *testing.B) { a.flip(b, first, second) })
		s.Services[first.Name] = first
		b.Run("full", func(b *testing.B) {
			for b.Loop() {
				a.Sync(b, s)
			}
		})
		b.Run("intact", func(b *testing.B) {
			for b.Loop() {
				a.intact(b)
			}
		})
	})
}

func (a Applied) change(b *testing.B, from, to *plan.Service) {
	if _, err := a.Change(context.Background(), []plan.Change{{Old: from, New: to}}); err != nil {
		b.Fatal(err)
	}
}

// flip goes to and fro, and ends where it began.
func (a Applied) flip(b *testing.B, from, to *plan.Service) {
	for b.Loop() {
		a.change(b, from, to)
		from, to = to, from
	}
	if b.N%2 == 1 {
		a.change(b, from, to)
	}
}

func (a Applied) intact(b *testing.B) {
	if ok, err := a.Intact(context.Background()); err != nil || !ok {
		b.Fatalf("intact=%v, error %v", ok, err)
	}
}
