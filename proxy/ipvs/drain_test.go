package ipvs

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

func virtual(addr string) Virtual { return Virtual{"tcp", netip.MustParseAddrPort(addr)} }

// real0 is a real server on the Pods' port.
func real0(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), Port) }

// eventually waits for a state. CI is slow.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// An endpoint that goes keeps the connections it has, and gets no new ones; its real
// server goes with the last of them. One that comes back is in full service again. So it
// is with a Service, and its address.
func TestGracefulTermination(t *testing.T) {
	plane.Have(t)
	w := NewWorld(t)
	quick := plane
	quick.New = func(h *host.Host, k Knobs) Backend {
		cfg := config(h, k)
		cfg.Timeouts.TCPFin = time.Second
		return New(cfg)
	}
	a := quick.Start(t, w.Node, Knobs{})
	ln, err := w.Place("c").Listen(context.Background(), "tcp", ":9090")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	svc := Service("ns1", "svc1", "10.96.0.41")
	none, pod, nothing := Snapshot(Planned(svc, 9090)), Snapshot(Planned(svc, 9090, Pods("c")...)), Snapshot()
	weights := func() (all []int) {
		t.Helper()
		reals, err := a.Backend.(*Applier).k.reals(virtual("10.96.0.41:80"))
		if err != nil {
			return nil // there is no such virtual server
		}
		for _, r := range reals {
			all = append(all, r.weight)
		}
		return all
	}
	a.Sync(t, pod)
	held := w.Hold(t, ln, "b", "10.96.0.41:80")
	for _, move := range []struct {
		what     string
		from, to plan.Snapshot
		weight   int
	}{
		{"the endpoint goes", pod, none, 0}, {"the endpoint comes back", none, pod, 1}, {"the Service goes", pod, nothing, 0},
		{"the Service comes back", nothing, pod, 1}, {"the Service goes again", pod, nothing, 0},
	} {
		a.Move(t, move.from, move.to)
		if got := weights(); len(got) != 1 || got[0] != move.weight {
			t.Fatalf("%s: weights %v, want %d alone", move.what, got, move.weight)
		}
		held.Alive(t, move.what)
		a.Holds(t, move.to)
		if move.weight == 0 {
			w.Check(t, Flow{From: "a", To: "10.96.0.41:80", Want: Refused})
		}
	}
	// A new proxy finds it so.
	a = quick.Start(t, w.Node, Knobs{})
	a.Sync(t, nothing)
	held.Alive(t, "a new proxy")
	a.Holds(t, nothing)
	held.End() // the server's FIN starts the timeout TCPFin; the client's would start one that cannot be set
	eventually(t, "the last connection has ended, the virtual server and its address are gone", func() bool {
		a.Holds(t, nothing)
		return weights() == nil && !bound(t, a, "10.96.0.41")
	})
}

func bound(t *testing.T, a Applied, addr string) bool {
	t.Helper()
	k := a.Backend.(*Applier).k
	dev, err := device(k.links, false)
	if err != nil || dev == nil {
		t.Fatalf("%v, error %v", dev, err)
	}
	ours, _, err := k.addresses(dev)
	if err != nil {
		t.Fatal(err)
	}
	return ours[netip.MustParseAddr(addr)]
}
