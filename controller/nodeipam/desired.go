package nodeipam

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
)

// maxSpan bounds how many ranges a cluster CIDR is cut into, in bits: as upstream,
// because each is a bit in memory there.
const maxSpan = 16

// errFull says that every range is taken.
var errFull = errors.New("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")

// pool cuts one cluster CIDR into ranges of one size and hands them out in order,
// going round: a range given back is used again as late as possible.
type pool struct {
	cluster netip.Prefix
	bits    int // prefix length of one range
	next    int
	owner   map[netip.Prefix]string // node that has the range
}

// parsePools reads the cluster's CIDRs, at most one of each family.
func parsePools(cidrs string, bits4, bits6 int) ([]*pool, error) {
	var pools []*pool
	for _, text := range strings.Split(cidrs, ",") {
		cluster, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("cluster-cidr: %w", err)
		}
		bits := bits4
		if cluster.Addr().Is6() {
			bits = bits6
		}
		if bits < cluster.Bits() || bits > cluster.Addr().BitLen() {
			return nil, fmt.Errorf("cluster-cidr %s cannot be cut into ranges of /%d", cluster, bits)
		}
		if bits-cluster.Bits() > maxSpan {
			return nil, fmt.Errorf("cluster-cidr %s: ranges of /%d would be more than 2^%d", cluster, bits, maxSpan)
		}
		pools = append(pools, &pool{cluster: cluster.Masked(), bits: bits, owner: map[netip.Prefix]string{}})
	}
	if len(pools) > 2 || len(pools) == 2 && pools[0].cluster.Addr().Is4() == pools[1].cluster.Addr().Is4() {
		return nil, fmt.Errorf("cluster-cidr %q: give one CIDR, or one of each family", cidrs)
	}
	return pools, nil
}

// size is how many ranges there are.
func (p *pool) size() int { return 1 << (p.bits - p.cluster.Bits()) }

// nth is the range at a place.
func (p *pool) nth(i int) netip.Prefix {
	addr := p.cluster.Addr()
	n := new(big.Int).SetBytes(addr.AsSlice())
	offset := new(big.Int).Lsh(big.NewInt(int64(i)), uint(addr.BitLen()-p.bits))
	raw := n.Add(n, offset).FillBytes(make([]byte, addr.BitLen()/8))
	start, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(start, p.bits)
}

// allocate gives the node a free range.
func (p *pool) allocate(node string) (netip.Prefix, error) {
	for i := range p.size() {
		at := (p.next + i) % p.size()
		if r := p.nth(at); p.owner[r] == "" {
			p.owner[r] = node
			p.next = (at + 1) % p.size()
			return r, nil
		}
	}
	return netip.Prefix{}, errFull
}

// occupy notes a range that a node has.
func (p *pool) occupy(node string, r netip.Prefix) error {
	if !p.cluster.Overlaps(r) {
		return fmt.Errorf("range %s of node %s is not in %s", r, node, p.cluster)
	}
	if owner := p.owner[r]; owner != "" && owner != node {
		return fmt.Errorf("range %s of node %s is also that of node %s", r, node, owner)
	}
	p.owner[r] = node
	return nil
}

// release takes back what the node has.
func (p *pool) release(node string) {
	for r, owner := range p.owner {
		if owner == node {
			delete(p.owner, r)
		}
	}
}
