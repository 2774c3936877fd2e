package ipvs

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// leaver is a real server on its way out: it has the weight 0 and gets no connection any
// more, but those that it has go on.
type leaver struct {
	Virtual
	real netip.AddrPort
}

// leave takes a real server out of service. Where it has TCP connections it leaves when
// the last of them has ended; UDP and SCTP do not wait, as upstream's do not, and
// expire_nodest_conn makes the kernel forget their connections with the next packet.
func (a *Applier) leave(l leaver, have []real) error {
	if l.Protocol == "tcp" && busy(l.real, have) {
		if err := a.k.ipvs.UpdateDestination(a.k.service(l.Virtual, Server{}), destination(l.real, 0)); err != nil {
			return fmt.Errorf("give the real server %s of %s weight 0: %w", l.real, l.Addr, err)
		}
		a.leaving[l] = true
		return nil
	}
	err := a.k.ipvs.DelDestination(a.k.service(l.Virtual, Server{}), destination(l.real, 0))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the real server %s of %s: %w", l.real, l.Addr, err)
	}
	delete(a.leaving, l)
	return nil
}

// busy tells whether a real server has connections.
func busy(addr netip.AddrPort, have []real) bool {
	for _, r := range have {
		if r.addr == addr {
			return r.connections > 0
		}
	}
	return false
}

// What keeps a virtual server that retires. Where another mode takes over in the midst of
// everything, connections that only begin count as well.
func established(r real) bool { return r.active > 0 }
func known(r real) bool       { return r.connections > 0 }

// retire removes a virtual server. Where it has TCP connections it stays until the last of
// them has ended, with its address and without any real server that would take new ones.
//
// Kubernetes: upstream removes it at once, which ends them.
func (a *Applier) retire(v Virtual, inUse func(real) bool) error {
	have, err := a.k.reals(v)
	if err != nil {
		return err
	}
	if v.Protocol != "tcp" || !slices.ContainsFunc(have, inUse) {
		return a.remove(v)
	}
	a.retired[v] = true
	for _, r := range have {
		if err := a.leave(leaver{v, r.addr}, have); err != nil {
			return err
		}
	}
	return nil
}

func (a *Applier) remove(v Virtual) error {
	delete(a.retired, v)
	maps.DeleteFunc(a.leaving, func(l leaver, _ bool) bool { return l.Virtual == v })
	if err := a.k.ipvs.DelService(a.k.service(v, Server{})); err != nil {
		return fmt.Errorf("remove the virtual server %s %s: %w", v.Protocol, v.Addr, err)
	}
	return nil
}

func (a *Applier) isLeaving(l leaver) bool {
	_, is := a.leaving[l]
	return is
}

// occupied tells whether an address still has connections to virtual servers that retire.
func (a *Applier) occupied(addr netip.Addr) bool {
	for v := range a.retired {
		if v.Addr.Addr() == addr {
			return true
		}
	}
	return false
}

// sweep removes the real servers whose last connection has ended, then virtual servers
// that waited for them, and the addresses that only those needed.
func (a *Applier) sweep(dev netlink.Link, bound map[netip.Addr]bool) error {
	if err := a.sweepReals(); err != nil {
		return err
	}
	for v := range a.retired {
		if err := a.retire(v, established); err != nil {
			return err
		}
		if addr := v.Addr.Addr(); bound[addr] && !a.occupied(addr) && (a.tally == nil || a.tally.addresses[addr] == 0) {
			if err := a.k.unbind(dev, addr); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Applier) sweepReals() error {
	of := map[Virtual][]real{}
	for l, weightless := range a.leaving {
		if _, known := of[l.Virtual]; !known {
			reals, err := a.k.reals(l.Virtual)
			if err != nil {
				return err
			}
			of[l.Virtual] = reals
		}
		if !weightless || !busy(l.real, of[l.Virtual]) {
			if err := a.leave(l, of[l.Virtual]); err != nil {
				return err
			}
		}
	}
	return nil
}

// stay takes a real server into service: a new one, or one that was about to leave.
func (a *Applier) stay(l leaver) error {
	put := a.k.ipvs.NewDestination
	if a.isLeaving(l) {
		put = a.k.ipvs.UpdateDestination
	}
	if err := put(a.k.service(l.Virtual, Server{}), destination(l.real, weight)); err != nil {
		return fmt.Errorf("add the real server %s of %s %s: %w", l.real, l.Protocol, l.Addr, err)
	}
	delete(a.leaving, l)
	return nil
}
