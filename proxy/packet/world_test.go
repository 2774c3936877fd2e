package packet

import (
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/ipvs"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
)

func TestMain(m *testing.M) { flowtest.Main(m) }

// bridgeIP is the node's address on the bridge of its Pods.
const bridgeIP = "10.244.1.1"

// node1 is flowtest's node with the rules.
var node1 = Node{Addrs: []netip.Addr{netip.MustParseAddr(flowtest.NodeIP), netip.MustParseAddr(bridgeIP)}, RouteLocalnet: true, Bridges: []string{"cni0"}}

// noRules is what flowtest's node2 has.
type noRules struct{}

func (noRules) Base(Hook) []*Chain          { return nil }
func (noRules) Chain(string, string) *Chain { return nil }

func settingsFor(s plan.Snapshot) iptables.Settings {
	return iptables.Settings{Family: plan.IPv4, MasqueradeBit: 14, LocalhostPort: true, RandomFully: true, Local: s.Local, NodePortIPs: s.NodePortIPs}
}

// rulesOf are the iptables rules of a snapshot.
func rulesOf(s plan.Snapshot, tweaks ...func(*iptables.Settings)) *IPTables {
	settings := settingsFor(s)
	for _, tweak := range tweaks {
		tweak(&settings)
	}
	return NewIPTables(settings, s.All())
}

// nftablesOf are the nftables rules of a snapshot.
func nftablesOf(t testing.TB, s plan.Snapshot, tweaks ...func(*nftables.Settings)) *NFTables {
	t.Helper()
	settings := nftables.Settings{Family: plan.IPv4, MasqueradeBit: 14, ServiceCIDR: serviceCIDR}
	for _, tweak := range tweaks {
		tweak(&settings)
	}
	rules, err := NewNFTables(settings, s, node1)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// ipvsOf are the rules of ipvs for a snapshot.
func ipvsOf(s plan.Snapshot, tweaks ...func(*ipvs.Settings)) *IPVS {
	settings := ipvs.Settings{Family: plan.IPv4, MasqueradeBit: 14}
	for _, tweak := range tweaks {
		tweak(&settings)
	}
	return NewIPVS(settings, s, node1)
}

var serviceCIDR = netip.MustParsePrefix("10.96.0.0/12")

// packetOf is the first packet of a flow, as node1 meets it.
func packetOf(f flowtest.Flow) Packet {
	p := Packet{Protocol: "tcp", Destination: netip.MustParseAddrPort(f.To)}
	if f.UDP {
		p.Protocol = "udp"
	}
	source := flowtest.Addrs[f.From]
	switch f.From {
	case "a", "b":
		p.In = "cni0"
	case "c":
		p.In = "eth0"
	case "outside":
		p.In, source = "eth0", flowtest.OutsideIP
	case "node": // as routing chooses
		dst := p.Destination.Addr()
		source = flowtest.NodeIP
		if dst.IsLoopback() {
			source = "127.0.0.1"
		} else if netip.MustParsePrefix(bridgeIP + "/24").Contains(dst) {
			source = bridgeIP
		}
	}
	p.Source = netip.MustParseAddr(source)
	return p
}

// sight is what the sender of a packet gets to see of its fate. The zero sight is silence.
type sight struct {
	name        string // of the Pod that answers
	masqueraded bool   // the Pod sees another source
	refused     bool
}

// sightOf says how flowtest's world, outside of the node's rules, goes on with an outcome.
func sightOf(f flowtest.Flow, o Outcome) sight {
	switch {
	case o.Fate == Rejected && f.UDP && f.From == "node" && o.trail.Hook == Output:
		return sight{} // its send fails with EPERM, as for a drop, before the ICMP error is there
	case o.Fate == Rejected, o.Fate == Delivered: // no process of the node listens
		return sight{refused: true}
	case o.Fate == Dropped:
		return sight{}
	}
	for name, addr := range flowtest.Addrs {
		if o.Packet.Destination.Addr().String() != addr {
			continue
		}
		if o.Packet.Destination.Port() != flowtest.Port {
			return sight{refused: true}
		}
		if f.From == name && o.Endpoint.IsValid() && !o.Masqueraded {
			return sight{} // a Pod drops what comes in from its own address; nftables masquerades that on its node only
		}
		if f.From == "outside" && name == "c" && o.Endpoint.IsValid() && !o.Masqueraded {
			return sight{} // the answer takes another way back, untranslated
		}
		if f.From == "node" && name == "c" && !node1.Local(o.Packet.Source) && !o.Masqueraded {
			return sight{} // ipvs: the source is an address of the Service, to which node2 knows another way
		}
		// The node's own connections may get any of its addresses.
		return sight{name: name, masqueraded: o.Masqueraded && f.From != "node"}
	}
	return sight{}
}

// predict walks the first packet of a flow.
func predict(t *testing.T, rules Rules, f flowtest.Flow, memory ...Memory) Result {
	t.Helper()
	p := packetOf(f)
	if v, ok := rules.(*IPVS); ok && f.From == "node" && slices.Contains(v.Own(), p.Destination.Addr()) {
		p.Source = p.Destination.Addr() // what one sends to oneself has one address
	}
	p.Affinity = memory
	if f.From == "c" && !node1.Local(p.Destination.Addr()) {
		rules = noRules{} // it meets node2 alone
	}
	result, err := Walk(rules, node1, p)
	if err != nil {
		t.Errorf("%v: %v", f, err)
	}
	whole := new(big.Rat)
	for _, o := range result.Outcomes {
		whole.Add(whole, o.Probability)
	}
	if whole.Cmp(big.NewRat(1, 1)) != 0 {
		t.Errorf("%v: the probabilities add up to %s", f, whole)
	}
	return result
}

// sights are what a flow may meet, with the probabilities.
func sights(f flowtest.Flow, r Result) map[sight]*big.Rat {
	all := map[sight]*big.Rat{}
	for _, o := range r.Outcomes {
		s := sightOf(f, o)
		if all[s] == nil {
			all[s] = new(big.Rat)
		}
		all[s].Add(all[s], o.Probability)
	}
	return all
}

// The rows that real packets run through in the backends' tests.
func TestScenarios(t *testing.T) {
	for _, s := range flowtest.Scenarios {
		t.Run("iptables "+s.Name, func(t *testing.T) {
			for _, f := range s.Flows {
				check(t, rulesOf(s.Plans()), f)
			}
		})
		t.Run("nftables "+s.Name, func(t *testing.T) {
			for _, f := range s.Flows {
				f.Want = flowtest.NFTables(f)
				check(t, nftablesOf(t, s.Plans()), f)
			}
		})
		t.Run("ipvs "+s.Name, func(t *testing.T) {
			for _, f := range s.Flows {
				f.Want = flowtest.IPVS(f)
				check(t, ipvsOf(s.Plans()), f)
			}
		})
	}
}

// check holds a prediction against a row.
func check(t *testing.T, rules Rules, f flowtest.Flow) {
	t.Helper()
	result := predict(t, rules, f)
	got := sights(f, result)
	names, masqueraded := "", false
	for s, p := range got {
		if names != "" && s.masqueraded != masqueraded {
			t.Errorf("%v: some masqueraded, some not:\n%s", f, result.Text(false))
		}
		names += s.name
		masqueraded = s.masqueraded
		if want := big.NewRat(1, int64(len(got))); p.Cmp(want) != 0 {
			t.Errorf("%v: %+v with probability %s, want %s", f, s, p, want)
		}
	}
	names = string(slices.Sorted(slices.Values([]byte(names))))
	outcome := flowtest.Kept(names)
	switch {
	case len(got) == 1 && got[sight{}] != nil:
		outcome = flowtest.Dropped
	case len(got) == 1 && got[sight{refused: true}] != nil:
		outcome = flowtest.Refused
	case f.Want == flowtest.Served(names):
		outcome = f.Want
	case masqueraded:
		outcome = flowtest.Masqueraded(names)
	}
	if outcome != f.Want {
		t.Errorf("%v: %v, want %v\n%s", f, slices.Collect(maps.Keys(got)), f.Want, strings.TrimSpace(result.Text(false)))
	}
}
