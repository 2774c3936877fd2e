package ipvs

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"

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
