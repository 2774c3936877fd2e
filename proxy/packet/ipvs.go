package packet

import (
	"net/netip"
	"strings"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/ipvs"
	"orrery.example.org/proxy/plan"
)

// tableIPVS is what the walk calls the place of IPVS among the tables.
const tableIPVS = "ipvs"

// IPVS are the rules of proxy/ipvs: chains of iptables that look into ipsets, and the
// virtual servers.
type IPVS struct {
	*IPTables
	model   ipvs.Model
	sets    map[string]ipvs.Set         // by their names in the kernel
	sources map[ipvs.Entry][]ipvs.Entry // entries that differ in their source alone
	family  plan.Family
	servers *Chain
}

// NewIPVS lays out the rules that the ipvs backend makes of a plan on a node.
func NewIPVS(settings ipvs.Settings, snapshot plan.Snapshot, node Node) *IPVS {
	t := &IPVS{
		IPTables: &IPTables{chains: map[iptables.Place]*Chain{}},
		model:    settings.Model(snapshot, ipvs.Own{Node: node.Addrs, NodePort: snapshot.NodePortIPs}),
		sets:     map[string]ipvs.Set{}, sources: map[ipvs.Entry][]ipvs.Entry{}, family: settings.Family,
	}
	for _, s := range ipvs.Sets {
		t.sets[ipvs.KernelName(s.Name, settings.Family)] = s
	}
	for e := range t.model.Entries {
		any := e
		any.From = netip.Prefix{}
		t.sources[any] = append(t.sources[any], e)
	}
	t.lay(settings.Rules(snapshot.Local, t.model.NoNode), nil)
	for _, c := range t.chains {
		for _, r := range c.Rules {
			r.(*ipRule).ipvs = t
		}
	}
	t.servers = &Chain{Table: tableIPVS, Name: "virtual servers", Rules: []Rule{&virtualServers{t}}}
	return t
}

// Base puts IPVS where it is in the kernel: behind the filter of what comes in, and
// between nat and filter of what the node itself sends.
func (t *IPVS) Base(hook Hook) []*Chain {
	var all []*Chain
	after := map[Hook]iptables.Table{Input: iptables.Filter, Output: iptables.Nat}[hook]
	for _, table := range tables[hook] {
		if c := t.chains[iptables.Place{Table: table, Chain: hook.String()}]; c != nil {
			all = append(all, c)
		}
		if table == after {
			all = append(all, t.servers)
		}
	}
	return all
}

// Own are the addresses that the data plane gives the node.
func (t *IPVS) Own() []netip.Addr {
	var all []netip.Addr
	for addr := range t.model.Addresses {
		all = append(all, addr)
	}
	return all
}

// server is the virtual server that a packet is, or was, for.
func (t *IPVS) server(p *Packet) (ipvs.Virtual, ipvs.Server, bool) {
	v := ipvs.Virtual{Protocol: p.Protocol, Addr: p.asked()}
	s, is := t.model.Servers[v]
	return v, s, is
}

// holds looks a packet up in a set: "NAME dst,dst,src".
func (t *IPVS) holds(match string, p *Packet) bool {
	name, dirs, _ := strings.Cut(match, " ")
	set := t.sets[name]
	e := ipvs.Entry{Set: set.Name}
	for i, part := range strings.Split(strings.SplitN(set.Type, ":", 2)[1], ",") {
		source := strings.Split(dirs, ",")[i] == "src"
		switch {
		case part == "port" && p.Protocol == "icmp": // it has none
			return false
		case part == "port":
			e.Port = p.Destination.Port()
			if set.Type != "bitmap:port" {
				e.Protocol = p.Protocol
			}
		case i == 2:
			return t.from(e, p.Source)
		case source:
			e.Addr = p.Source
		default:
			e.Addr = p.Destination.Addr()
		}
	}
	return t.model.Entries[e]
}

// from tells whether an entry, apart from its source, is there for a source.
func (t *IPVS) from(e ipvs.Entry, source netip.Addr) bool {
	for _, e := range t.sources[e] {
		if e.From.Contains(source) {
			return true
		}
	}
	return false
}
