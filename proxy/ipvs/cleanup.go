package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// ErrInUse means that the clean-up has to be done once more, later.
var ErrInUse = errors.New("ipvs waits for the last of some connections to end")

// CleanupAll removes virtual servers, ipsets and Device from a network namespace, of both
// families. The chains are iptables.CleanupAll's business, before this: some of them
// belong to the mode iptables as well, and while they are there their sets cannot go.
func CleanupAll(_ context.Context, h *host.Host) error { return removeBoth(h, true) }

// RetireAll is CleanupAll where another mode has taken over: virtual servers that still
// have connections stay until those have ended. As long as there are some it fails.
func RetireAll(_ context.Context, h *host.Host) error { return removeBoth(h, false) }

func removeBoth(h *host.Host, atOnce bool) error {
	return errors.Join(remover{h, plan.IPv4, nil, atOnce}.all(), remover{h, plan.IPv6, nil, atOnce}.all())
}

// remover removes what is of one family.
type remover struct {
	host    *host.Host
	family  plan.Family
	exclude []netip.Prefix
	atOnce  bool // connections end
}

// all removes everything. Others use IPVS too: only where Device shows that they are a
// kube-proxy's are virtual servers removed, upstream's flush asks for no sign.
func (r remover) all() error {
	links, err := r.host.Links()
	if err != nil {
		return err
	}
	dev, err := device(links, false)
	if err != nil {
		return err
	}
	if dev != nil {
		err = r.servers()
	}
	return errors.Join(err, r.sets())
}

// servers removes virtual servers, then the addresses that led to them.
func (r remover) servers() error {
	a := New(Config{Host: r.host, Settings: Settings{Family: r.family}})
	if err := a.connect(); err != nil {
		return err
	}
	defer func() { _ = a.Close() }()
	servers, leaving, err := a.k.servers()
	a.leaving = leaving
	for v := range servers {
		switch {
		case slices.ContainsFunc(r.exclude, func(p netip.Prefix) bool { return p.Contains(v.Addr.Addr()) }):
		case r.atOnce:
			err = errors.Join(err, a.remove(v))
		default:
			err = errors.Join(err, a.retire(v, known))
		}
	}
	if err = errors.Join(err, r.addresses(a)); err == nil && len(a.retired) > 0 {
		err = fmt.Errorf("%w: %d virtual servers", ErrInUse, len(a.retired))
	}
	return err
}

// addresses takes a family's addresses off Device, which goes with the last of them.
func (r remover) addresses(a *Applier) error {
	dev, err := device(a.k.links, false)
	if err != nil || dev == nil {
		return err
	}
	left := 0
	for _, family := range []plan.Family{plan.IPv4, plan.IPv6} {
		ours, _, err := (&kernel{family: family, links: a.k.links}).addresses(dev)
		if err != nil {
			return err
		}
		for addr := range ours {
			if family != r.family || a.occupied(addr) {
				left++
			} else if err := a.k.unbind(dev, addr); err != nil {
				return err
			}
		}
	}
	if left > 0 {
		return nil
	}
	if err := a.k.links.LinkDel(dev); err != nil {
		return fmt.Errorf("remove %s: %w", Device, err)
	}
	return nil
}

// sets removes the sets.
func (r remover) sets() error {
	sets, err := r.host.Netlink(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer sets.Close()
	for _, s := range Sets {
		name := KernelName(s.Name, r.family)
		destroyErr := sets.IpsetDestroy(name)
		switch {
		case errors.Is(destroyErr, unix.ENOENT):
		case errors.Is(destroyErr, unix.EINVAL), errors.Is(destroyErr, unix.EOPNOTSUPP): // a kernel without ipsets has none
			return err
		case destroyErr != nil:
			err = errors.Join(err, fmt.Errorf("remove ipset %s: %w", name, destroyErr))
		}
	}
	return err
}
