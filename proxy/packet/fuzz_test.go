package packet

import (
	"math/big"
	"net/netip"
	"testing"

	"orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

// source of bytes that never ends.
type tape []byte

func (t *tape) next(n int) int {
	if len(*t) == 0 || n == 0 {
		return 0
	}
	b := int((*t)[0])
	*t = (*t)[1:]
	return b % n
}

var (
	fuzzChains  = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "KUBE-SVC-X", "KUBE-SEP-Y", "KUBE-MARK-MASQ"}
	fuzzTargets = []iptables.Target{{}, {Name: "ACCEPT"}, {Name: "DROP"}, {Name: "REJECT"}, {Name: "RETURN"}, {Name: "MASQUERADE"},
		{Name: "MARK", Option: "--or-mark", Value: "0x00004000"}, {Name: "MARK", Option: "--xor-mark", Value: "0x00004000"},
		{Name: "MARK", Option: "--set-mark", Value: "1"}, {Name: "MARK", Value: "one"}, {Name: "DNAT", Value: "10.244.1.2:8080"},
		{Name: "DNAT", Value: "172.30.0.11:80"}, {Name: "DNAT", Value: "nowhere"}}
	fuzzTexts = []string{"", "tcp", "udp", "LOCAL", "BROADCAST", "NEW", "ESTABLISHED,DNAT", "cni0", "cni+", "list"}
	fuzzAddrs = []string{"10.244.1.2", "10.244.2.2", "172.30.0.11", "172.30.0.50", "10.96.0.41", "127.0.0.1"}
)

// rules are some chains with up to eight rules, whose jumps lead only to later chains.
func (t *tape) rules() *IPTables {
	all := &IPTables{chains: map[iptables.Place]*Chain{}}
	for range t.next(9) {
		at := t.next(len(fuzzChains))
		table := []iptables.Table{iptables.Nat, iptables.Filter}[t.next(2)]
		var r iptables.Rule
		for range t.next(4) {
			addr := netip.MustParseAddr(fuzzAddrs[t.next(len(fuzzAddrs))])
			r.Match = append(r.Match, iptables.Match{
				Kind: iptables.Kind(1 + t.next(int(iptables.Recent))), Not: t.next(2) == 1,
				Prefix: netip.PrefixFrom(addr, 8+t.next(25)), Number: uint32(t.next(4)), Text: fuzzTexts[t.next(len(fuzzTexts))],
			})
		}
		if i := t.next(len(fuzzTargets) + 4); i < len(fuzzTargets) {
			r.Target = fuzzTargets[i]
		} else {
			later := fuzzChains[max(at+1, 5):]
			if len(later) > 0 {
				r.Target.Name = later[t.next(len(later))]
			}
		}
		all.add(plan.PortName{}, iptables.Place{Table: table, Chain: fuzzChains[at]}, r)
	}
	return all
}

func (t *tape) packet() Packet {
	addr := func() netip.Addr { return netip.MustParseAddr(fuzzAddrs[t.next(len(fuzzAddrs))]) }
	p := Packet{Source: addr(), Protocol: fuzzTexts[1+t.next(2)], Destination: netip.AddrPortFrom(addr(), uint16(t.next(3))),
		In: []string{"", "cni0", "eth0", "lo"}[t.next(4)], Mark: uint32(t.next(2)) << 14}
	p.Flow.State = State(t.next(6))
	if t.next(2) == 1 {
		p.Flow.Endpoint = netip.AddrPortFrom(addr(), 8080)
	}
	if t.next(2) == 1 {
		p.Affinity = []Memory{{List: "list", Source: addr()}}
	}
	return p
}

// Whatever the rules and the packet, a walk ends, and with an error or with outcomes whose
// probabilities add up to one. The rules of Services end without an error.
func FuzzWalk(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 0, 0, 1, 4, 0, 0, 0, 1, 1, 10, 4, 0, 0, 5, 2, 1, 1, 3, 1, 2, 4, 1, 1})
	f.Add([]byte{8, 5, 0, 1, 2, 1, 10, 0, 2, 0, 10, 0, 0, 0, 13, 3, 1, 0, 2, 0, 0, 0, 0, 1, 9, 1, 1, 1})
	services := []Rules{rulesOf(flowtest.Scenarios[5].Plans()), nftablesOf(f, flowtest.Scenarios[5].Plans())}
	f.Fuzz(func(t *testing.T, data []byte) {
		tape := tape(data)
		rules, p := tape.rules(), tape.packet()
		whole(t, rules, p)
		for _, rules := range services {
			if err := whole(t, rules, p); err != nil && p.check() == nil {
				t.Errorf("%s: %v", &p, err)
			}
		}
	})
}

func whole(t *testing.T, rules Rules, p Packet) error {
	r, err := Walk(rules, node1, p)
	if err != nil {
		return err
	}
	sum := new(big.Rat)
	for _, o := range r.Outcomes {
		sum.Add(sum, o.Probability)
	}
	if sum.Cmp(big.NewRat(1, 1)) != 0 {
		t.Errorf("the probabilities add up to %s:\n%s", sum, r.Text(true))
	}
	_ = r.Text(true)
	return nil
}

// A walk past 10,000 Services, most of which it is held against.
func BenchmarkWalk(b *testing.B) {
	s := flowtest.Many(10_000, 2)
	rules := rulesOf(s)
	p := packetOf(flowtest.Flow{From: "b", To: "10.96.1.1:80"})
	for b.Loop() {
		if _, err := Walk(rules, node1, p); err != nil {
			b.Fatal(err)
		}
	}
}
