package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"orrery.example.org/proxy/plan"
)

// createSet makes a set, unless there is one of the name.
func (k *kernel) createSet(s Set) error {
	options := netlink.IpsetCreateOptions{Replace: true, MaxElements: 65536, Family: unix.AF_INET}
	if k.family == plan.IPv6 {
		options.Family = unix.AF_INET6
	}
	if s.Type == typePort {
		options = netlink.IpsetCreateOptions{Replace: true, PortTo: math.MaxUint16}
	}
	if err := k.sets.IpsetCreate(KernelName(s.Name, k.family), s.Type, options); err != nil {
		return fmt.Errorf("create ipset %s of type %s (modules ip_set and ip_set_%s): %w",
			s.Name, s.Type, strings.NewReplacer(":", "_", ",", "").Replace(s.Type), err)
	}
	return nil
}

// entries are those of a set; there is false if there is no such set.
func (k *kernel) entries(s Set) (all []Entry, there bool, err error) {
	result, err := k.sets.IpsetList(KernelName(s.Name, k.family))
	if errors.Is(err, unix.ENOENT) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("list ipset %s: %w", s.Name, err)
	}
	for _, e := range result.Entries {
		all = append(all, entryOf(s, e))
	}
	return all, true, nil
}

// entryOf reads an entry of the kernel's, as far as its set's type goes.
func entryOf(s Set, e netlink.IPSetEntry) Entry {
	out := Entry{Set: s.Name}
	if e.Port != nil {
		out.Port = *e.Port
	}
	if s.Type == typePort {
		return out
	}
	out.Addr = addrPort(e.IP, 0).Addr()
	if e.Protocol != nil {
		out.Protocol = protocolName(uint16(*e.Protocol))
	}
	switch from := addrPort(e.IP2, 0).Addr(); s.Type {
	case typeAddrPortAddr:
		out.From = single(from)
	case typeAddrPortNet:
		out.From = netip.PrefixFrom(from, int(e.CIDR2))
	}
	return out
}

// message is an entry as the kernel takes it.
func (e Entry) message() *netlink.IPSetEntry {
	out := &netlink.IPSetEntry{}
	if e.Port != 0 {
		out.Port = &e.Port
	}
	if e.Addr.IsValid() {
		out.IP = e.Addr.AsSlice()
	}
	if e.Protocol != "" {
		number := uint8(protocols[e.Protocol])
		out.Protocol = &number
	}
	if e.From.IsValid() {
		out.IP2 = e.From.Addr().AsSlice()
		if setsByName[e.Set].Type == typeAddrPortNet {
			out.CIDR2 = uint8(e.From.Bits())
		}
	}
	return out
}

func (k *kernel) addEntry(e Entry) error {
	m := e.message()
	m.Replace = true // it may be there already
	err := k.onPort(nl.IPSET_CMD_ADD, e, func(set string) error { return k.sets.IpsetAdd(set, m) })
	if err != nil {
		return fmt.Errorf("add %s to ipset %s: %w", e, e.Set, err)
	}
	return nil
}

func (k *kernel) removeEntry(e Entry) error {
	err := k.onPort(nl.IPSET_CMD_DEL, e, func(set string) error { return k.sets.IpsetDel(set, e.message()) })
	if err != nil {
		return fmt.Errorf("remove %s from ipset %s: %w", e, e.Set, err)
	}
	return nil
}

// onPort does to an entry of a set of ports what otherwise does to all others: netlink's
// library gives every port a protocol, which the kernel does not take for such a set.
func (k *kernel) onPort(command int, e Entry, otherwise func(set string) error) error {
	name := KernelName(e.Set, k.family)
	if setsByName[e.Set].Type != typePort {
		return otherwise(name)
	}
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil)
	data.AddRtAttr(int(nl.IPSET_ATTR_PORT|nl.NLA_F_NET_BYTEORDER), binary.BigEndian.AppendUint16(nil, e.Port))
	req := nl.NewNetlinkRequest(command|unix.NFNL_SUBSYS_IPSET<<8, nl.GetIpsetFlags(command))
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: k.ports}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_NETLINK, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
	req.AddData(data)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}
