package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Pool hands out the addresses of one node's podCIDR, round robin, so that a new
// Pod has a new address and a learner can tell it from the one before. An address
// comes back into play only when the range has been walked through.
//
// Upstream counterpart: the host-local IPAM plugin, whose rule and whose file with
// the last address this is.
type Pool struct {
	prefix netip.Prefix
	file   string // remembers last across restarts; "": nothing does

	mu   sync.Mutex
	last netip.Addr
	used map[netip.Addr]bool
}

// NewPool makes the pool of prefix. The first usable address is the gateway's.
func NewPool(prefix netip.Prefix, file string) (*Pool, error) {
	prefix = prefix.Masked()
	if prefix.Addr().BitLen()-prefix.Bits() < 3 {
		return nil, fmt.Errorf("podCIDR %s: need a range of at least 8 addresses", prefix)
	}
	p := &Pool{prefix: prefix, file: file, used: map[netip.Addr]bool{}}
	p.last = p.Gateway()
	data, err := os.ReadFile(file)
	if err != nil {
		if file == "" || errors.Is(err, fs.ErrNotExist) {
			return p, nil
		}
		return nil, fmt.Errorf("read the last Pod address: %w", err)
	}
	// A file of another podCIDR or half a line is no reason not to start.
	if last, err := netip.ParseAddr(strings.TrimSpace(string(data))); err == nil && p.usable(last) {
		p.last = last
	}
	return p, nil
}

// Prefix is the whole range.
func (p *Pool) Prefix() netip.Prefix { return p.prefix }

// Gateway is the bridge's own address, the first of the range.
func (p *Pool) Gateway() netip.Addr { return p.prefix.Addr().Next() }

// Allocate returns the next free address after the last one handed out.
func (p *Pool) Allocate() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr := p.after(p.last); ; addr = p.after(addr) {
		if !p.used[addr] {
			p.used[addr], p.last = true, addr
			return addr, p.remember()
		}
		if addr == p.last {
			return netip.Addr{}, fmt.Errorf("no free address in %s: all %d are in use", p.prefix, len(p.used))
		}
	}
}

// Reserve takes one given address, for a Pod that had it before the agent was
// restarted. It says whether the address was free.
func (p *Pool) Reserve(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.usable(addr) || p.used[addr] {
		return false
	}
	p.used[addr] = true
	return true
}

// Release gives an address back.
func (p *Pool) Release(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, addr)
}

// after walks the usable addresses in a circle.
func (p *Pool) after(addr netip.Addr) netip.Addr {
	if next := addr.Next(); p.usable(next) {
		return next
	}
	return p.Gateway().Next()
}

// usable excludes the network's address, the gateway's and the broadcast address.
func (p *Pool) usable(addr netip.Addr) bool {
	return p.prefix.Contains(addr) && addr.Compare(p.Gateway()) > 0 && p.prefix.Contains(addr.Next())
}

// remember writes the last address down. Losing the file in a crash of the machine
// costs nothing: its Pods are gone as well.
func (p *Pool) remember() error {
	if p.file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(p.file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p.file, []byte(p.last.String()+"\n"), 0o644)
}
