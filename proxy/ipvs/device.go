package ipvs

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/proxy/plan"
)

// device finds Device, and makes it if asked to. It is nil where there is none.
func device(links *netlink.Handle, create bool) (netlink.Link, error) {
	link, err := links.LinkByName(Device)
	var missing netlink.LinkNotFoundError
	switch {
	case err == nil:
		return link, nil
	case !errors.As(err, &missing):
		return nil, fmt.Errorf("look for %s: %w", Device, err)
	case !create:
		return nil, nil
	}
	// It stays down: its addresses are the node's all the same, and nothing ever leaves by it.
	if err := links.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: Device}}); err != nil {
		return nil, fmt.Errorf("make the interface %s (module dummy): %w", Device, err)
	}
	return links.LinkByName(Device)
}

// addresses lists the addresses of a family: those of Device, and all others.
func (k *kernel) addresses(dev netlink.Link) (ours map[netip.Addr]bool, others []netip.Addr, err error) {
	family := netlink.FAMILY_V4
	if k.family == plan.IPv6 {
		family = netlink.FAMILY_V6
	}
	all, err := k.links.AddrList(nil, family)
	if err != nil {
		return nil, nil, fmt.Errorf("list addresses: %w", err)
	}
	ours = map[netip.Addr]bool{}
	for _, a := range all {
		addr := addrPort(a.IP, 0).Addr()
		switch {
		case addr.Is6() && addr.IsLinkLocalUnicast():
		case dev != nil && a.LinkIndex == dev.Attrs().Index:
			ours[addr] = true
		case !addr.IsLoopback():
			others = append(others, addr)
		}
	}
	return ours, others, nil
}

func ipNet(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}
}

func (k *kernel) bind(dev netlink.Link, addr netip.Addr) error {
	if err := k.links.AddrReplace(dev, ipNet(addr)); err != nil {
		return fmt.Errorf("put %s on %s: %w", addr, Device, err)
	}
	return nil
}

func (k *kernel) unbind(dev netlink.Link, addr netip.Addr) error {
	if err := k.links.AddrDel(dev, ipNet(addr)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("take %s off %s: %w", addr, Device, err)
	}
	return nil
}
