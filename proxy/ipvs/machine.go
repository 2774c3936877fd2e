package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	mobyipvs "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"orrery.example.org/proxy/plan"
)

// probe is an address for documentation, on which a scheduler is tried out, as upstream does.
var probe = map[plan.Family]Virtual{
	plan.IPv4: {"tcp", netip.MustParseAddrPort("198.51.100.0:20000")},
	plan.IPv6: {"tcp", netip.MustParseAddrPort("[2001:db8::]:20000")},
}

// tryScheduler makes a virtual server for a moment, which loads the scheduler's module.
func (a *Applier) tryScheduler() error {
	v, s := probe[a.cfg.Family], a.cfg.scheduler()
	service := a.k.service(v, Server{Scheduler: s})
	err := a.k.ipvs.NewService(service)
	switch {
	case err == nil:
		return a.k.ipvs.DelService(service)
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the kernel has no IPVS scheduler %s (as root: modprobe ip_vs_%s); there are, as modules of their own: %s",
			s, s, strings.Join(Schedulers, ", "))
	}
	return fmt.Errorf("try the IPVS scheduler %s: %w", s, err)
}

// tune sets what the data plane depends on. Each of them is of the network namespace,
// and not to be had in one that belongs to a user namespace.
func (a *Applier) tune() error {
	settings := [][2]string{
		{"vs/conntrack", "1"},                 // iptables must know the connections to masquerade them
		{"vs/expire_nodest_conn", "1"},        // forget connections whose real server is gone
		{"vs/expire_quiescent_template", "1"}, // affinity must not hold on a real server that leaves
		{"ip_forward", "1"},
	}
	if a.cfg.StrictARP {
		settings = append(settings, [2]string{"conf/all/arp_ignore", "1"}, [2]string{"conf/all/arp_announce", "2"})
	}
	err := a.cfg.Host.Do(func() error {
		for _, s := range settings {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+s[0], []byte(s[1]), 0); err != nil {
				return fmt.Errorf("set net.ipv4.%s to %s (the mode ipvs needs root outside of user namespaces; iptables and nftables do not): %w",
					strings.ReplaceAll(s[0], "/", "."), s[1], err)
			}
		}
		return nil
	})
	if t := a.cfg.Timeouts; err == nil && t != (Timeouts{}) {
		if err = a.k.ipvs.SetConfig(&mobyipvs.Config{TimeoutTCP: t.TCP, TimeoutTCPFin: t.TCPFin, TimeoutUDP: t.UDP}); err != nil {
			err = fmt.Errorf("set the timeouts of IPVS: %w", err)
		}
	}
	return err
}
