package lb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"orrery.example.org/lb/plan"
)

// base is the part of the rules that no Service changes, as input of nft. A packet for
// an address of the pool gets a mark, which is the number of a node, and the mark picks
// the routing table (routes.go) that leads there. Nothing in the packet is changed.
//
// The balancer sees one direction only, since nodes answer clients directly. Connection
// tracking would take such TCP connections for invalid; so packets bypass it, and flows
// is this table's own memory. The mention of ct in the chain forward is what makes the
// kernel put fragments together, which have no ports each.
const base = `
add table $IP load-balancer
delete table $IP load-balancer
table $IP load-balancer {
	set pool { type $ADDR; flags interval; elements = { $POOL }; comment "addresses that come here"; }
	set addresses { type $ADDR; comment "addresses that Services have"; }
	set nodes { type mark; comment "numbers of nodes"; }
	map services { type $ADDR . inet_proto . inet_service : verdict; comment "who may take new connections"; }
	map flows {
		typeof $FLOW_TYPE : meta mark
		size 262144; flags dynamic,timeout; timeout $TIMEOUT
		comment "who has which connection"
	}
	chain untracked {
		type filter hook prerouting priority raw;
		$IP daddr @pool notrack
	}
	chain choose {
		type filter hook prerouting priority mangle;
		$IP daddr != @pool accept
		tcp flags & (fin|syn|rst|ack) != syn jump remembered
		$IP daddr . meta l4proto . th dport vmap @services
	}
	chain remembered {
		meta mark set $FLOW map @flows
		meta mark @nodes update @flows { $FLOW : meta mark } accept
		meta mark set 0
	}
	chain forward {
		type filter hook forward priority filter;
		$IP daddr @pool meta mark 0 goto refuse
		ct state untracked accept
	}
	chain unadvised {
		type filter hook output priority filter;
		$REDIRECT drop comment "clients are not to send past this machine"
	}
	chain refuse {
		$IP daddr != @addresses reject with $NO_HOST comment "no Service has this address"
		meta l4proto tcp reject with tcp reset comment "no such port, or no healthy node"
		reject with $NO_PORT
	}
}
`

// group is what a group of nodes needs. nft 1.0.6 cannot print a map whose key is
// declared as a jhash; numgen has the same type.
const group = `
add map $IP load-balancer slots-$ID { typeof numgen random mod $COUNT : meta mark; }
add element $IP load-balancer slots-$ID { $SLOTS }
add chain $IP load-balancer spread-$ID
add rule $IP load-balancer spread-$ID meta mark set jhash $KEY mod $COUNT seed 0x6f72726d map @slots-$ID comment "$NODES"
add rule $IP load-balancer spread-$ID update @flows { $FLOW : meta mark }
`

// The keys that connections are spread by. The seed in the rule above keeps their hash
// the same over restarts.
const (
	byConnection = "$IP saddr . $IP daddr . th sport . th dport"
	byClient     = "$IP saddr"
)

// perTransaction is how many elements go into one transaction: without root, the kernel
// takes about 200 KB at a time.
const perTransaction = 500

// perRun is how many bytes of text go into one transaction where several would fit. In
// netlink's form they become about five times as many.
const perRun = 25_000

// rules is all that the kernel's table of a family holds.
type rules struct {
	family    family
	marks     map[string]uint32 // of nodes
	addresses map[netip.Addr]bool
	groups    map[string]plan.Group
	frontends map[plan.Frontend]string // -> group
}

// rulesOf are the rules of a family for a plan. marks has the numbers of all nodes of the plan.
func rulesOf(p *plan.Plan, family family, marks map[string]uint32) *rules {
	r := &rules{family, map[string]uint32{}, map[netip.Addr]bool{}, map[string]plan.Group{}, map[plan.Frontend]string{}}
	for _, n := range p.Nodes {
		if family.has(n.Addr) {
			r.marks[n.Name] = marks[n.Name]
		}
	}
	for _, a := range p.Addresses() {
		if family.has(a) {
			r.addresses[a] = true
		}
	}
	for f, g := range p.Frontends {
		if family.has(f.Addr) {
			id := g.ID()
			r.groups[id], r.frontends[f] = g, id
		}
	}
	return r
}

// baseText is base for a family's part of a pool.
func baseText(pool []netip.Prefix, family family, timeout string) string {
	var texts []string
	for _, p := range pool {
		if family.has(p.Addr()) {
			texts = append(texts, p.Masked().String())
		}
	}
	return family.text(strings.NewReplacer("$POOL", strings.Join(texts, ", "), "$TIMEOUT", timeout).Replace(base))
}

// transactions lead from the rules old to the rules r: first what is only needed, then
// what leads there, and last the removal of what nothing leads to any more. A Service
// changes within one of them.
func (r *rules) transactions(old *rules) []string {
	var texts []string
	nodes := changes("nodes", markSet(old.marks), markSet(r.marks))
	texts = append(texts, strings.Join(nodes.add, ""))
	for _, id := range slices.Sorted(maps.Keys(r.groups)) {
		if _, there := old.groups[id]; !there {
			texts = append(texts, r.group(id))
		}
	}
	addresses := changes("addresses", addressSet(old.addresses), addressSet(r.addresses))
	services := changes("services", frontendMap(old.frontends), frontendMap(r.frontends))
	texts = append(texts, bundle(slices.Concat(addresses.add, services.replace, services.remove, services.add, addresses.remove))...)
	var rest []string
	for _, id := range slices.Sorted(maps.Keys(old.groups)) {
		if _, stays := r.groups[id]; !stays {
			rest = append(rest, fmt.Sprintf("delete chain $IP load-balancer spread-%s\ndelete map $IP load-balancer slots-%[1]s\n", id))
		}
	}
	texts = append(texts, bundle(append(rest, nodes.remove...))...)
	for i, text := range texts {
		texts[i] = r.family.text(text)
	}
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}

// group is the text that makes a group.
func (r *rules) group(id string) string {
	g := r.groups[id]
	var slots []string
	for i, name := range g.Slots() {
		slots = append(slots, fmt.Sprintf("%d : %d", i, r.marks[name]))
	}
	key := byConnection
	if g.ByClient {
		key = byClient
	}
	names := strings.Join(g.Nodes, ", ")
	if len(names) > 120 { // what a comment may have
		names = fmt.Sprintf("%d nodes", len(g.Nodes))
	}
	return strings.NewReplacer("$ID", id, "$COUNT", fmt.Sprint(plan.SlotCount), "$SLOTS", strings.Join(slots, ", "),
		"$KEY", key, "$NODES", names).Replace(group)
}

// difference is what turns one state of a set into another, a command per element.
// What replaces an element is one text, so that it is never torn apart.
type difference struct{ add, replace, remove []string }

// changes compares two states of a set or map: what its keys lead to, or "".
func changes(set string, old, want map[string]string) (d difference) {
	element := func(verb, key, value string) string {
		if value != "" {
			key += " : " + value
		}
		return fmt.Sprintf("%s element $IP load-balancer %s { %s }\n", verb, set, key)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		was, there := old[key]
		switch {
		case !there:
			d.add = append(d.add, element("add", key, want[key]))
		case was != want[key]:
			d.replace = append(d.replace, element("delete", key, was)+element("add", key, want[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(old)) {
		if _, stays := want[key]; !stays {
			d.remove = append(d.remove, element("delete", key, old[key]))
		}
	}
	return d
}

func bundle(commands []string) (texts []string) {
	for chunk := range slices.Chunk(commands, perTransaction) {
		texts = append(texts, strings.Join(chunk, ""))
	}
	return texts
}

// pack joins neighbours as far as the kernel takes them: most changes, and all rules of a
// small world, become one transaction, so that nobody meets a half-written table.
func pack(texts []string) (packed []string) {
	for _, text := range texts {
		if last := len(packed) - 1; last >= 0 && len(packed[last])+len(text) <= perRun {
			packed[last] += text
		} else {
			packed = append(packed, text)
		}
	}
	return packed
}

func markSet(marks map[string]uint32) map[string]string {
	set := map[string]string{}
	for _, mark := range marks {
		set[fmt.Sprint(mark)] = ""
	}
	return set
}

func addressSet(addrs map[netip.Addr]bool) map[string]string {
	set := map[string]string{}
	for a := range addrs {
		set[a.String()] = ""
	}
	return set
}

func frontendMap(frontends map[plan.Frontend]string) map[string]string {
	set := map[string]string{}
	for f, id := range frontends {
		set[fmt.Sprintf("%s . %s . %d", f.Addr, strings.ToLower(string(f.Protocol)), f.Port)] = "goto spread-" + id
	}
	return set
}
