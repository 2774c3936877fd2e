package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// Pools are those of a node, one per family. What a Pod gets is one address of each, in
// this order.
type Pools []*Pool

// NewPools makes a pool of each prefix. Their files have the family's name at the end.
func NewPools(prefixes []netip.Prefix, file string) (Pools, error) {
	var pools Pools
	for _, prefix := range prefixes {
		if pools.of(prefix.Addr()) != nil {
			return nil, fmt.Errorf("podCIDRs %v: need one, or one of each family", prefixes)
		}
		pool, err := NewPool(prefix, file+"-"+familyOf(prefix.Addr()).name)
		if err != nil {
			return nil, err
		}
		pools = append(pools, pool)
	}
	if len(pools) == 0 {
		return nil, errors.New("podCIDRs: none was given")
	}
	return pools, nil
}

// Prefixes are the whole ranges.
func (p Pools) Prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, pool := range p {
		all = append(all, pool.prefix)
	}
	return all
}

// of is the pool of the address's family, nil if there is none.
func (p Pools) of(addr netip.Addr) *Pool {
	for _, pool := range p {
		if pool.prefix.Addr().Is4() == addr.Is4() {
			return pool
		}
	}
	return nil
}

// Allocate takes the next free address of every pool, or none at all.
func (p Pools) Allocate() ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, pool := range p {
		addr, err := pool.Allocate()
		if err != nil {
			p.Release(addrs)
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// Reserve takes given addresses, for a Pod that had them before the agent was restarted.
// It says whether all of them were free; if not it takes none.
func (p Pools) Reserve(addrs []netip.Addr) bool {
	for i, addr := range addrs {
		if pool := p.of(addr); pool == nil || !pool.Reserve(addr) {
			p.Release(addrs[:i])
			return false
		}
	}
	return len(addrs) > 0
}

// Release gives addresses back.
func (p Pools) Release(addrs []netip.Addr) {
	for _, addr := range addrs {
		if pool := p.of(addr); pool != nil {
			pool.Release(addr)
		}
	}
}
