package packet

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
)

// NFTables are the rules of proxy/nftables, read from the very text that nft is given,
// and the elements of the maps that they look into.
type NFTables struct {
	content nftables.Content
	chains  map[string]*Chain
	base    map[Hook][]*Chain
	maps    map[string]map[string]string // by name and key
	ranges  map[string][]nftables.Slot
}

// NewNFTables lays out the rules that the nftables backend makes of a plan on a node. An
// error is a text that nft would not take, or that is not understood here.
func NewNFTables(settings nftables.Settings, snapshot plan.Snapshot, node Node) (*NFTables, error) {
	t := &NFTables{
		content: settings.Content(snapshot, node.Addrs),
		chains:  map[string]*Chain{}, base: map[Hook][]*Chain{},
		maps: map[string]map[string]string{}, ranges: map[string][]nftables.Slot{},
	}
	for slot, value := range t.content.Elements {
		if t.maps[slot.Set] == nil {
			t.maps[slot.Set] = map[string]string{}
		}
		t.maps[slot.Set][slot.Key] = value
		if slot.KeyEnd != "" {
			t.ranges[slot.Set] = append(t.ranges[slot.Set], slot)
		}
	}
	priorities := map[*Chain]int{}
	for line := range strings.Lines(t.content.Text) {
		if err := t.read(strings.TrimSpace(line), priorities); err != nil {
			return nil, fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
		}
	}
	for _, chains := range t.base {
		slices.SortStableFunc(chains, func(a, b *Chain) int { return priorities[a] - priorities[b] })
	}
	return t, nil
}

// read takes one line of the text: a chain, or a rule. All else is about sets and maps,
// of which only the elements count.
func (t *NFTables) read(line string, priorities map[*Chain]int) error {
	words := split(line)
	if len(words) < 5 || words[0] != "add" {
		return nil
	}
	name := words[4]
	switch words[1] {
	case "chain":
		c := &Chain{Table: nftables.TableName, Name: name}
		t.chains[name] = c
		_, properties, ok := strings.Cut(line, "{")
		if !ok {
			return nil
		}
		return t.hookUp(c, strings.Fields(strings.Trim(properties, " ;}")), priorities)
	case "rule":
		c := t.chains[name]
		if c == nil {
			return fmt.Errorf("there is no chain %s", name)
		}
		p := parser{rules: t, words: words[5:]}
		_, text, _ := strings.Cut(line, " "+name+" ")
		r := &nftRule{rules: t, chain: name, text: text}
		for len(p.words) > 0 {
			s, err := p.statement()
			if err != nil {
				return err
			}
			if s != nil {
				r.statements = append(r.statements, *s)
			}
		}
		c.Rules = append(c.Rules, r)
	}
	return nil
}

var nftHooks = map[string]Hook{
	"prerouting": Prerouting, "input": Input, "forward": Forward, "output": Output, "postrouting": Postrouting,
}

var nftPriorities = map[string]int{"dstnat": -100, "filter": 0, "srcnat": 100}

// hookUp reads "type nat hook prerouting priority dstnat + 10".
func (t *NFTables) hookUp(c *Chain, words []string, priorities map[*Chain]int) error {
	if len(words) < 6 || words[0] != "type" || words[2] != "hook" || words[4] != "priority" {
		return fmt.Errorf("no base chain: %q", words)
	}
	hook, known := nftHooks[words[3]]
	if !known {
		return fmt.Errorf("hook %s is not known", words[3])
	}
	priority, named := nftPriorities[words[5]]
	rest := words[6:]
	if !named {
		rest = words[5:]
	}
	if offset := strings.Join(rest, ""); offset != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(offset, "+"))
		if err != nil {
			return fmt.Errorf("priority: %w", err)
		}
		priority += n
	}
	c.NAT = words[1] == "nat"
	t.base[hook], priorities[c] = append(t.base[hook], c), priority
	return nil
}

// split is the words of a line; a quoted text is one word.
func split(line string) []string {
	var words []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// Base are the base chains at a hook.
func (t *NFTables) Base(hook Hook) []*Chain { return t.base[hook] }

// Chain is a chain by its name; there is one table.
func (t *NFTables) Chain(_, name string) *Chain { return t.chains[name] }

// lookUp finds an element of a set or map.
func (t *NFTables) lookUp(set, key string) (string, bool) {
	if value, ok := t.maps[set][key]; ok {
		return value, true
	}
	for _, slot := range t.ranges[set] {
		if len(key) == len(slot.Key) && slot.Key <= key && key <= slot.KeyEnd {
			return "", true
		}
	}
	return "", false
}

// nftRule is a rule: statements, each of which gets what the one before let through.
type nftRule struct {
	rules      *NFTables
	chain      string
	text       string
	statements []statement
}

// Try runs the statements one after the other.
func (r *nftRule) Try(p *Packet, node *Node) ([]Branch, error) {
	return r.from(0, p, node, Whole), nil
}

func (r *nftRule) from(i int, p *Packet, node *Node, share Share) []Branch {
	if i == len(r.statements) {
		return []Branch{{Share: share, Failed: Met, After: p}}
	}
	ways := r.statements[i].run(p, node)
	if len(ways) == 0 {
		return []Branch{{Share: share, Failed: i, After: p}}
	}
	var all []Branch
	for _, b := range ways {
		after := b.After
		if after == nil {
			after = p
		}
		b.Share = share.Times(b.Share.Num, b.Share.Den)
		switch {
		case b.Failed == broke:
			all = append(all, Branch{Share: b.Share, Failed: i, After: p})
		case b.Do == Continue:
			all = append(all, r.from(i+1, after, node, b.Share)...)
		default:
			if b.Chain == chainMark {
				after = after.because(r.cause())
			}
			all = append(all, Branch{Share: b.Share, Failed: Met, After: after, Do: b.Do, Chain: b.Chain})
		}
	}
	return all
}

// Why tells what the statements found, up to the one that broke.
func (r *nftRule) Why(p *Packet, node *Node, failed int) string {
	if failed != Met {
		return r.statements[failed].tell(p, node, false)
	}
	var facts []string
	for i := range r.statements {
		if fact := r.statements[i].tell(p, node, true); fact != "" {
			facts = append(facts, fact)
		}
	}
	if len(facts) == 0 {
		return "the rule takes every packet"
	}
	return strings.Join(facts, ", ")
}

// Service is the port that has got hold of the address that the rule looked up.
func (r *nftRule) Service(p *Packet) plan.PortName {
	for i := range r.statements {
		if key := r.statements[i].key; key != nil {
			return r.rules.content.Owner(key(p))
		}
	}
	return plan.PortName{}
}

// String is the rule as nft is given it.
func (r *nftRule) String() string { return r.text }

// addressPort reads the value of a map: an address, and a port padded to four bytes.
func addressPort(value string) (netip.AddrPort, bool) {
	if len(value) < 8 {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice([]byte(value[:len(value)-4]))
	return netip.AddrPortFrom(addr, uint16(value[len(value)-4])<<8|uint16(value[len(value)-3])), ok
}
