package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"

	mobyipvs "github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// weight is that of every real server that is not about to leave.
const weight = 1

// The flags of a virtual server that matter here, as in linux/ip_vs.h.
const (
	flagPersistent = 0x01
	flagSourcePort = 0x10 // with the scheduler mh: hash the source's port too
)

// errNoIPVS is a kernel without IPVS.
var errNoIPVS = errors.New("the kernel has no IPVS: its module ip_vs is neither loaded nor to be found (as root: modprobe ip_vs; " +
	"on Debian and Ubuntu it comes with the package linux-image-…, not with every cloud's kernel); the modes iptables and nftables need none")

// kernel speaks with the kernel of one network namespace about one family.
type kernel struct {
	family plan.Family
	ipvs   *mobyipvs.Handle
	sets   *netlink.Handle
	ports  *nl.SocketHandle // for entries of sets of ports
	links  *netlink.Handle
}

// dial opens the sockets. They are opened on a thread that ends there, and belong to the
// place for life; see host.Netlink.
func dial(h *host.Host, family plan.Family) (*kernel, error) {
	if err := Supported(h); err != nil {
		return nil, err
	}
	k := &kernel{family: family}
	err := h.Do(func() (err error) {
		if k.ipvs, err = mobyipvs.New(""); err != nil {
			return err
		}
		k.ports = &nl.SocketHandle{}
		k.ports.Socket, err = nl.Subscribe(unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		k.close()
		return nil, fmt.Errorf("open IPVS: %w", err)
	}
	if k.sets, err = h.Netlink(unix.NETLINK_NETFILTER); err == nil {
		k.links, err = h.Links()
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// Supported tells whether the kernel has IPVS. It asks for the family of messages that
// ip_vs brings, which loads the module where that is possible. moby/ipvs would go on
// without, and do nothing.
func Supported(h *host.Host) error {
	generic, err := h.Netlink(unix.NETLINK_GENERIC)
	if err != nil {
		return err
	}
	defer generic.Close()
	_, err = generic.GenlFamilyGet("IPVS")
	if errors.Is(err, unix.ENOENT) {
		return errNoIPVS
	}
	if err != nil {
		return fmt.Errorf("look for IPVS: %w", err)
	}
	return nil
}

func (k *kernel) close() {
	if k.ipvs != nil {
		k.ipvs.Close()
	}
	if k.sets != nil {
		k.sets.Close()
	}
	if k.ports != nil {
		k.ports.Close()
	}
}

// --- virtual servers

var protocols = map[string]uint16{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

func protocolName(number uint16) string {
	for name, n := range protocols {
		if n == number {
			return name
		}
	}
	return ""
}

func (k *kernel) service(v Virtual, s Server) *mobyipvs.Service {
	out := &mobyipvs.Service{
		Address: v.Addr.Addr().AsSlice(), Protocol: protocols[v.Protocol], Port: v.Addr.Port(),
		SchedName: s.Scheduler, AddressFamily: unix.AF_INET, Netmask: math.MaxUint32,
	}
	if k.family == plan.IPv6 {
		out.AddressFamily, out.Netmask = unix.AF_INET6, 128
	}
	if s.Persistence > 0 {
		out.Flags, out.Timeout = flagPersistent, s.Persistence
	}
	if s.Scheduler == "mh" {
		out.Flags |= flagSourcePort
	}
	return out
}

func destination(r netip.AddrPort, weight int) *mobyipvs.Destination {
	return &mobyipvs.Destination{Address: r.Addr().AsSlice(), Port: r.Port(), Weight: weight}
}

// real is a real server as the kernel knows it.
type real struct {
	addr        netip.AddrPort
	weight      int
	active      int // connections that are established
	connections int // and those that have ended, which the kernel keeps for a while
}

func (k *kernel) reals(v Virtual) ([]real, error) {
	all, err := k.ipvs.GetDestinations(k.service(v, Server{}))
	if err != nil {
		return nil, fmt.Errorf("list the real servers of %s %s: %w", v.Protocol, v.Addr, err)
	}
	var out []real
	for _, d := range all {
		out = append(out, real{addrPort(d.Address, d.Port), d.Weight, d.ActiveConnections, d.ActiveConnections + d.InactiveConnections})
	}
	return out, nil
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}

// servers are the virtual servers of the family, and apart from them the real servers
// that are not in full service; for those the value tells that they have no weight.
func (k *kernel) servers() (map[Virtual]Server, map[leaver]bool, error) {
	all, err := k.ipvs.GetServices()
	if err != nil {
		return nil, nil, fmt.Errorf("list virtual servers: %w", err)
	}
	servers, leaving := map[Virtual]Server{}, map[leaver]bool{}
	for _, s := range all {
		v := Virtual{protocolName(s.Protocol), addrPort(s.Address, s.Port)}
		if s.FWMark != 0 || v.Protocol == "" || v.Addr.Addr().Is4() != (k.family == plan.IPv4) {
			continue
		}
		server := Server{Scheduler: s.SchedName}
		if s.Flags&flagPersistent != 0 {
			server.Persistence = s.Timeout
		}
		reals, err := k.reals(v)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range reals {
			if r.weight == weight {
				server.Real = append(server.Real, r.addr)
			} else {
				leaving[leaver{v, r.addr}] = r.weight == 0
			}
		}
		servers[v] = server
	}
	return servers, leaving, nil
}

// --- sets

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

// --- addresses

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
