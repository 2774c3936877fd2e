package packet

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"log/slog"
	"math"
	"math/big"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"orrery.example.org/host"
	"orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/ipvs"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
)

// connections of one flow: enough to meet each of three endpoints, but for one chance
// in 10^9.
const connections = 60

// patience is how often silence is taken for a slow machine where an answer is due.
const patience = 8

// backend is a data plane in a kernel, and its rules as a walk sees them.
type backend struct {
	name  string
	start func(*testing.T, *host.Host) func(*testing.T, plan.Snapshot, knobs) Rules
	needs func(*host.Host) error
}

// knobs are the settings that chance turns.
type knobs struct{ masqueradeAll, localhost bool }

var usual = knobs{localhost: true}

// backends are those that this machine can run.
func backends(t *testing.T, f func(t *testing.T, b backend)) {
	t.Helper()
	flowtest.Namespaces(t)
	for program, b := range map[string]backend{
		"iptables-nft":    {"iptables on nft", withIPTables("nft"), nil},
		"iptables-legacy": {"iptables on legacy", withIPTables("legacy"), nil},
		"iptables":        {"ipvs", withIPVS, ipvs.Supported}, // in the virtual machine of scripts/test-ipvs
		"nft":             {"nftables", withNFTables, nil},
	} {
		t.Run(b.name, func(t *testing.T) {
			if _, err := host.LookPath(program); err != nil {
				t.Skip(err)
			}
			if b.needs != nil {
				if err := b.needs(nil); err != nil {
					t.Skip(err)
				}
			}
			f(t, b)
		})
	}
}

func withIPTables(variant string) func(*testing.T, *host.Host) func(*testing.T, plan.Snapshot, knobs) Rules {
	return func(_ *testing.T, h *host.Host) func(*testing.T, plan.Snapshot, knobs) Rules {
		return func(t *testing.T, s plan.Snapshot, k knobs) Rules {
			t.Helper()
			a := iptables.New(iptables.Config{Host: h, Family: plan.IPv4, Variant: variant, Log: slog.New(slog.DiscardHandler),
				MasqueradeAll: k.masqueradeAll, MasqueradeBit: 14, LocalhostNodePorts: k.localhost})
			if err := a.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Full(context.Background(), s); err != nil {
				t.Fatal(err)
			}
			return rulesOf(s, func(settings *iptables.Settings) {
				settings.MasqueradeAll, settings.LocalhostPort = k.masqueradeAll, k.localhost
			})
		}
	}
}

// withNFTables: the proxy gives NodePorts no loopback address in this mode, so a
// snapshot without a list of addresses means all others.
func withNFTables(_ *testing.T, h *host.Host) func(*testing.T, plan.Snapshot, knobs) Rules {
	return func(t *testing.T, s plan.Snapshot, k knobs) Rules {
		t.Helper()
		a := nftables.New(nftables.Config{Host: h, Log: slog.New(slog.DiscardHandler),
			Settings: nftables.Settings{Family: plan.IPv4, MasqueradeBit: 14, ServiceCIDR: serviceCIDR, MasqueradeAll: k.masqueradeAll}})
		defer a.Close()
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Full(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		return nftablesOf(t, s, func(settings *nftables.Settings) { settings.MasqueradeAll = k.masqueradeAll })
	}
}

func withIPVS(t *testing.T, h *host.Host) func(*testing.T, plan.Snapshot, knobs) Rules {
	return func(t *testing.T, s plan.Snapshot, k knobs) Rules {
		t.Helper()
		a := ipvs.New(ipvs.Config{Host: h, Log: slog.New(slog.DiscardHandler),
			Settings: ipvs.Settings{Family: plan.IPv4, MasqueradeBit: 14, MasqueradeAll: k.masqueradeAll}})
		defer a.Close()
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Full(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		return ipvsOf(s, func(settings *ipvs.Settings) { settings.MasqueradeAll = k.masqueradeAll })
	}
}

var seedFlag = flag.Uint64("seed", 0, "repeat TestKernelAgrees with the seed of a failure")

// Random Services, and random packets to them: what the walk says may happen is what the
// kernel does, and all of it does happen. A failure tells the seed that made it.
func TestKernelAgrees(t *testing.T) {
	backends(t, func(t *testing.T, b backend) {
		const services, flows = 5, 6
		rounds := 8
		if testing.Short() {
			rounds = 4
		}
		seed := cmp.Or(*seedFlag, rand.Uint64())
		w := flowtest.NewWorld(t)
		program := b.start(t, w.Node)
		for round := range rounds {
			d := dice{rand.New(rand.NewPCG(seed, uint64(round))), round}
			s, all := d.snapshot(services, flows)
			k := knobs{masqueradeAll: d.one(4), localhost: !d.one(4)}
			compare(t, w, program(t, s, k), all)
			if t.Failed() {
				t.Fatalf("seed %d, round %d, %+v", seed, round, k)
			}
		}
	})
}

// compare tries flows: at the same time, but for those that leave a memory behind.
func compare(t *testing.T, w *flowtest.World, rules Rules, flows []flowtest.Flow) {
	var wg sync.WaitGroup
	var remembered []flowtest.Flow
	for _, f := range flows {
		result := predict(t, rules, f)
		if leavesMemory(result) {
			remembered = append(remembered, f)
			continue
		}
		wg.Go(func() { meetAll(t, w, f, result) })
	}
	wg.Wait()
	follow(t, w, rules, remembered)
}

func leavesMemory(r Result) bool {
	for _, o := range r.Outcomes {
		if len(o.Packet.Affinity) > 0 {
			return true
		}
	}
	return false
}

// meetAll connects until everything that was predicted has been seen.
func meetAll(t *testing.T, w *flowtest.World, f flowtest.Flow, r Result) {
	want, seen := sights(f, r), map[sight]bool{}
	for range connections {
		got := look(w, f, want)
		if want[got] == nil {
			t.Errorf("%v: the kernel gives %+v, the walk says\n%s", f, got, r.Text(false))
			return
		}
		if seen[got] = true; len(seen) == len(want) {
			return
		}
	}
	t.Errorf("%v: only %v happened, the walk says\n%s", f, seen, r.Text(false))
}

// follow goes through flows one after the other, and takes along what rules remember.
func follow(t *testing.T, w *flowtest.World, rules Rules, flows []flowtest.Flow) {
	var memory []Memory
	for _, f := range flows {
		r := predict(t, rules, f, memory...)
		got := look(w, f, sights(f, r))
		known := false
		for _, o := range r.Outcomes {
			if sightOf(f, o) == got {
				known, memory = true, o.Packet.Affinity
			}
		}
		if !known {
			t.Errorf("%v: the kernel gives %+v, the walk says\n%s", f, got, r.Text(true))
		}
	}
}

// look makes a connection. Silence is looked at again where the walk excludes it.
func look(w *flowtest.World, f flowtest.Flow, want map[sight]*big.Rat) sight {
	var got sight
	for range patience {
		name, source, err := w.Connect(f)
		switch own := packetOf(f).Source.String(); {
		case err == nil:
			return sight{name: name, masqueraded: source != own && f.From != "node"}
		case errors.Is(err, syscall.ECONNREFUSED):
			return sight{refused: true}
		case want[got] != nil:
			return got
		}
	}
	return got
}

// The kernel's dice are as fair as the walk says (P8).
func TestP8KernelShares(t *testing.T) {
	backends(t, func(t *testing.T, b backend) {
		n := 600
		if testing.Short() {
			n = 120
		}
		w := flowtest.NewWorld(t)
		s := flowtest.Snapshot(flowtest.Planned(flowtest.Service("ns1", "svc1", "10.96.0.41"), flowtest.Port, flowtest.Pods("abc")...))
		rules := b.start(t, w.Node)(t, s, usual)
		f := flowtest.Flow{From: "node", To: "10.96.0.41:80"}
		want, count := sights(f, predict(t, rules, f)), map[sight]int{}
		for range n {
			count[look(w, f, want)]++
		}
		for s, probability := range want {
			p, _ := probability.Float64()
			if deviation := math.Abs(float64(count[s])-float64(n)*p) / math.Sqrt(float64(n)*p*(1-p)); deviation > 6 {
				t.Errorf("%+v happened %d times in %d, %.1f standard deviations from %s", s, count[s], n, deviation, probability.RatString())
			}
		}
	})
}
