package iptables

import (
	"testing"

	. "orrery.example.org/proxy/flowtest"
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
