package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	gnft "github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// patience is how long the kernel may take over one transaction or listing.
const patience = 30 * time.Second

// perMessage is how many elements go into one netlink message: the length of an
// attribute has 16 bits.
const perMessage = 300

// kernel speaks nftables with the kernel of one network namespace, about one table.
type kernel struct {
	conn  *gnft.Conn
	raw   *netlink.Conn // the socket of conn
	table *gnft.Table
}

// dial opens a netlink socket in a place. It is opened on a thread that ends there, and
// belongs to the place for life; see host.Netlink.
func dial(h *host.Host, family plan.Family) (*kernel, error) {
	k := &kernel{table: &gnft.Table{Name: TableName, Family: gnft.TableFamilyIPv4}}
	if family == plan.IPv6 {
		k.table.Family = gnft.TableFamilyIPv6
	}
	err := h.Do(func() (err error) {
		k.conn, err = gnft.New(gnft.AsLasting(), gnft.WithSockOptions(func(c *netlink.Conn) error {
			k.raw = c
			return nil
		}))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return k, nil
}

func (k *kernel) close() { _ = k.conn.CloseLasting() }

// hurry limits how long the calls that follow may take together.
func (k *kernel) hurry() error {
	if err := k.raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("limit the time for nftables: %w", err)
	}
	return nil
}

// generation is the number of the kernel's rule set. Every transaction of anybody
// counts it up by one.
func (k *kernel) generation() (uint32, error) {
	replies, err := k.raw.Execute(k.request(unix.NFT_MSG_GETGEN, 0, nil))
	if err != nil {
		return 0, fmt.Errorf("read the generation of the rules: %w", err)
	}
	for _, reply := range replies {
		ad, err := netlink.NewAttributeDecoder(reply.Data[4:])
		if err != nil {
			return 0, fmt.Errorf("decode the generation of the rules: %w", err)
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), nil
			}
		}
	}
	return 0, errors.New("read the generation of the rules: no answer")
}

// fingerprint is a hash of all rules of the table with their handles, which change with
// every change of a rule.
func (k *kernel) fingerprint() (uint64, error) {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(TableName + "\x00")}})
	if err != nil {
		return 0, fmt.Errorf("encode a request: %w", err)
	}
	replies, err := k.raw.Execute(k.request(unix.NFT_MSG_GETRULE, netlink.Dump, attrs))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("list the rules: %w", err)
	}
	hash := fnv.New64a()
	for _, reply := range replies {
		_, _ = hash.Write(reply.Data[4:]) // without the generation
	}
	return hash.Sum64(), nil
}

func (k *kernel) request(kind int, flags netlink.HeaderFlags, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{byte(k.table.Family), unix.NFNETLINK_V0, 0, 0}, attrs...),
	}
}

// contents are what the kernel holds under our table's name.
type contents struct {
	chains, sets []string
	elements     Elements // but for those of the map affinity
}

// read lists chains, sets and elements.
func (k *kernel) read() (contents, error) {
	var c contents
	chains, err := k.conn.ListChainsOfTableFamily(k.table.Family)
	if err != nil {
		return c, fmt.Errorf("list chains: %w", err)
	}
	for _, chain := range chains {
		if chain.Table.Name == TableName {
			c.chains = append(c.chains, chain.Name)
		}
	}
	if len(c.chains) == 0 {
		return c, nil
	}
	sets, err := k.conn.GetSets(k.table)
	if err != nil {
		return c, fmt.Errorf("list sets: %w", err)
	}
	c.elements = Elements{}
	for _, set := range sets {
		if set.Anonymous {
			continue
		}
		if c.sets = append(c.sets, set.Name); set.Name == mapAffinity {
			continue
		}
		elements, err := k.conn.GetSetElements(&gnft.Set{Table: k.table, Name: set.Name})
		if err != nil {
			return c, fmt.Errorf("list elements of %s: %w", set.Name, err)
		}
		for _, e := range elements {
			slot := Slot{Set: set.Name, Key: string(e.Key), KeyEnd: string(e.KeyEnd)}
			if c.elements[slot] = string(e.Val); verdictMaps[set.Name] {
				c.elements[slot] = verdictText(e.Val)
			}
		}
	}
	return c, nil
}

// verdictText spells a verdict as nft does.
func verdictText(attrs []byte) string {
	ad, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return ""
	}
	ad.ByteOrder = binary.BigEndian
	var code expr.VerdictKind
	var chain string
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			code = expr.VerdictKind(int32(ad.Uint32()))
		case unix.NFTA_VERDICT_CHAIN:
			chain = ad.String()
		}
	}
	switch code {
	case expr.VerdictGoto:
		return verdictGoto(chain)
	case expr.VerdictDrop:
		return verdictDrop
	}
	return fmt.Sprintf("verdict %d %s", code, chain)
}

// commit makes ops one transaction.
func (k *kernel) commit(ops []op) error {
	del, add := map[string][]gnft.SetElement{}, map[string][]gnft.SetElement{}
	for _, o := range ops {
		e := gnft.SetElement{Key: []byte(o.slot.Key), KeyEnd: []byte(o.slot.KeyEnd)}
		if o.del {
			del[o.slot.Set] = append(del[o.slot.Set], e)
		}
		if !o.add {
			continue
		}
		if verdictMaps[o.slot.Set] {
			e.VerdictData = &expr.Verdict{Kind: expr.VerdictDrop}
			if chain, ok := strings.CutPrefix(o.value, "goto "); ok {
				e.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}
			}
		} else {
			e.Val = []byte(o.value)
		}
		add[o.slot.Set] = append(add[o.slot.Set], e)
	}
	if err := k.queue(del, k.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := k.queue(add, k.conn.SetAddElements); err != nil {
		return err
	}
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("change %d elements: %w", len(ops), err)
	}
	return nil
}

func (k *kernel) queue(elements map[string][]gnft.SetElement, put func(*gnft.Set, []gnft.SetElement) error) error {
	for name, all := range elements {
		for part := range slices.Chunk(all, perMessage) {
			if err := put(&gnft.Set{Table: k.table, Name: name}, part); err != nil {
				return fmt.Errorf("encode elements of %s: %w", name, err)
			}
		}
	}
	return nil
}

// clients are the entries of the map affinity.
func (k *kernel) clients() (Elements, error) {
	elements, err := k.conn.GetSetElements(&gnft.Set{Table: k.table, Name: mapAffinity})
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", mapAffinity, err)
	}
	all := Elements{}
	for _, e := range elements {
		all[Slot{Set: mapAffinity, Key: string(e.Key)}] = string(e.Val)
	}
	return all, nil
}

// setRules gives each of some chains one rule, and no other, in one transaction.
func (k *kernel) setRules(rules map[string][]expr.Any) error {
	for name, rule := range rules {
		chain := &gnft.Chain{Name: name, Table: k.table}
		k.conn.FlushChain(chain)
		k.conn.AddRule(&gnft.Rule{Table: k.table, Chain: chain, Exprs: rule})
	}
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("write the rules of %d chains: %w", len(rules), err)
	}
	return nil
}

// deleteTable removes the table with all that is in it, if there is one.
func (k *kernel) deleteTable() error {
	tables, err := k.conn.ListTablesOfFamily(k.table.Family)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(t *gnft.Table) bool { return t.Name == TableName }) {
		return nil
	}
	k.conn.DelTable(k.table)
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("delete table %s: %w", TableName, err)
	}
	return nil
}
