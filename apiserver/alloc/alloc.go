// Package alloc decides which ClusterIPs and node ports a Service gets.
//
// Upstream counterpart: pkg/registry/core/service/{storage/alloc.go,ipallocator,
// portallocator} of kubernetes/kubernetes.
//
// It decides only; nothing is reserved here. What it decided is a Grant: names such
// as "clusterips/10.96.0.7" that the store takes in the very transaction that writes
// the Service. If somebody else holds one of them the transaction fails, the caller
// learns the name and asks again. So a value is never handed out twice, whatever
// crashes when, and there is nothing to repair.
//
// Kubernetes: upstream reserves first and writes afterwards, and repair loops find
// what a crash in between has leaked.
package alloc

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The reasons why a value is not given, as upstream words them.
var (
	ErrFull          = errors.New("range is full")
	ErrAllocatedIP   = errors.New("provided IP is already allocated")
	ErrAllocatedPort = errors.New("provided port is already allocated")
	ErrMismatched    = errors.New("the provided network does not match the current range")
)

// Taken are names of which the caller knows that they are not free.
type Taken map[string]bool

// Grant is what one write of a Service takes and what it gives back.
type Grant struct {
	Claim, Release []string
}

// Allocator knows the ranges. It is immutable.
type Allocator struct {
	ips    []IPRange // as configured; the first one's family is the default
	within []IPRange // that addresses come from, in this order
	ports  PortRange
}

// New makes an allocator for one service network, or for two of different families.
func New(cidrs []string, ports string) (*Allocator, error) {
	a := &Allocator{}
	for _, cidr := range cidrs {
		r, err := ParseIPRange(cidr)
		if err != nil {
			return nil, err
		}
		a.ips = append(a.ips, r)
	}
	switch {
	case len(a.ips) == 0 || len(a.ips) > 2:
		return nil, fmt.Errorf("service networks %q: one is needed, or two of different families", cidrs)
	case len(a.ips) == 2 && a.ips[0].family == a.ips[1].family:
		return nil, fmt.Errorf("service networks %q: both are %s", cidrs, a.ips[0].family)
	}
	a.within = a.ips
	var err error
	a.ports, err = ParsePortRange(ports)
	return a, err
}

// Within is the allocator with other networks than the configured ones: those of the
// ServiceCIDRs. One that cannot be read, or is of a family that was not configured, is
// left out.
func (a *Allocator) Within(cidrs []string) *Allocator {
	next := *a
	next.within = nil
	for _, cidr := range cidrs {
		if r, err := ParseIPRange(cidr); err == nil && a.has(r.family) {
			next.within = append(next.within, r)
		}
	}
	return &next
}

// CIDRs are the configured networks.
func (a *Allocator) CIDRs() []string {
	var cidrs []string
	for _, r := range a.ips {
		cidrs = append(cidrs, r.prefix.String())
	}
	return cidrs
}

// First is the first address of the first network: that of the Service "kubernetes".
func (a *Allocator) First() netip.Addr { return a.ips[0].at(0) }

const clusterIPs = "clusterips/"

func ipName(ip string) string     { return clusterIPs + ip }
func portName(port int32) string  { return "nodeports/" + strconv.Itoa(int(port)) }
func (t Taken) ip(ip string) bool { return t[ipName(ip)] }
func (t Taken) port(p int32) bool { return t[portName(p)] }

// IPName is the name by which an address is claimed, IPOf the address that a name
// claims; it is none for a port's name.
func IPName(ip netip.Addr) string { return ipName(ip.String()) }

// IPOf undoes IPName.
func IPOf(name string) (netip.Addr, bool) {
	text, ok := strings.CutPrefix(name, clusterIPs)
	if !ok {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(text)
	return ip, err == nil
}

// PortRange is a range of node ports, both ends included.
type PortRange struct{ min, max int32 }

// ParsePortRange reads "30000-32767".
func ParsePortRange(s string) (PortRange, error) {
	low, high, found := strings.Cut(s, "-")
	lo, err1 := strconv.ParseUint(low, 10, 16)
	hi, err2 := strconv.ParseUint(high, 10, 16)
	if !found || err1 != nil || err2 != nil || lo == 0 || hi < lo {
		return PortRange{}, fmt.Errorf("node port range %q: expected something like 30000-32767", s)
	}
	return PortRange{int32(lo), int32(hi)}, nil
}

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.min, r.max) }

// check says whether one may ask for the port.
func (r PortRange) check(port int32, taken Taken) error {
	switch {
	case port < r.min || port > r.max:
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", r)
	case taken.port(port):
		return ErrAllocatedPort
	}
	return nil
}

// pick chooses a port nobody asked for.
func (r PortRange) pick(taken Taken) (int32, error) {
	size := int(r.max-r.min) + 1
	i, err := choose(size, band(size, 32, 128), func(i int) bool { return !taken.port(r.min + int32(i)) })
	return r.min + int32(i), err
}
