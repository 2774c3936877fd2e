package dns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"orrery.example.org/dns/cache"
	"orrery.example.org/dns/forward"
)

// settings are what queries are answered by: made of a configuration, never changed, and
// replaced as a whole by those of the next. A query keeps the ones it came in under.
type settings struct {
	cfg        Config
	resolver   resolver
	forwarder  *forward.Forwarder
	transferTo []netip.Prefix
}

// newSettings makes the settings of a valid configuration.
func (s *Server) newSettings(cfg Config) (*settings, error) {
	set := &settings{cfg: cfg}
	set.resolver = resolver{domain: fqdn(cfg.Domain), ttl: uint32(cfg.TTL), pods: cfg.Pods, locals: s.locals}
	set.resolver.zones = append(set.resolver.zones, set.resolver.domain)
	for _, zone := range cfg.ReverseZones {
		set.resolver.zones = append(set.resolver.zones, fqdn(zone))
	}
	for _, to := range cfg.TransferTo {
		prefixes, err := network(to)
		if err != nil {
			return nil, err
		}
		set.transferTo = append(set.transferTo, prefixes...)
	}
	var routes []forward.Route
	for _, zone := range append([]StubDomain{{".", cfg.Upstreams}}, cfg.StubDomains...) {
		addresses, err := s.upstreams(zone.Upstreams)
		if err != nil {
			return nil, fmt.Errorf("upstreams of %s: %w", zone.Zone, err)
		}
		routes = append(routes, forward.Route{Zone: zone.Zone, Upstreams: addresses})
	}
	set.forwarder = forward.New(cfg.Host, routes, s.metrics.forward, s.log)
	return set, nil
}

// cacheLimits are how much is kept of upstreams' replies.
func (set *settings) cacheLimits() cache.Limits {
	return cache.Limits{
		Positive: time.Duration(set.cfg.CacheTTL) * time.Second,
		Negative: time.Duration(set.cfg.DenialTTL) * time.Second,
		Bytes:    maxCache,
	}
}

// maxCache bounds the memory of upstreams' replies, in bytes. It holds CoreDNS's 10,000
// replies of two addresses each.
const maxCache = 4 << 20

// upstreams completes upstreams to addresses and ports, and reads those of files.
func (s *Server) upstreams(configured []string) (addresses []string, err error) {
	for _, upstream := range configured {
		if !isFile(upstream) {
			address, err := upstreamAddress(upstream)
			if err != nil {
				return nil, err
			}
			addresses = append(addresses, address)
			continue
		}
		text, err := s.readFile(upstream)
		if err != nil {
			return nil, err
		}
		found, skipped := forward.ParseResolvConf(text, s.locals)
		if len(skipped) > 0 {
			s.log.Info("these name servers could lead back to us, and are not asked", "file", upstream, "servers", skipped)
		}
		if len(found) == 0 {
			s.log.Warn("no upstream: names outside of the cluster do not exist", "file", upstream)
		}
		addresses = append(addresses, found...)
	}
	return addresses, nil
}

// stubResolverConf is where systemd-resolved, whose own address is a loopback one, names
// the resolvers it asks. kubeadm has the kubelet read it in place of /etc/resolv.conf.
const stubResolverConf = "/run/systemd/resolve/resolv.conf"

// readFile reads a resolv.conf, as it is where the server runs.
func (s *Server) readFile(path string) (text string, err error) {
	err = s.cfg.Host.Do(func() error {
		raw, err := os.ReadFile(path)
		text = string(raw)
		if found, _ := forward.ParseResolvConf(text, nil); err != nil || len(found) > 0 || path != "/etc/resolv.conf" {
			return err
		}
		raw, err = os.ReadFile(stubResolverConf)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		text += string(raw)
		return err
	})
	return text, err
}

func isFile(upstream string) bool { return strings.HasPrefix(upstream, "/") }

// upstreamAddress completes an upstream to address and port.
func upstreamAddress(upstream string) (string, error) {
	if addr, err := netip.ParseAddr(upstream); err == nil {
		return net.JoinHostPort(addr.String(), "53"), nil
	}
	addrPort, err := netip.ParseAddrPort(upstream)
	if err != nil {
		return "", fmt.Errorf("%q is neither an IP address nor IP:port nor the path of a file", upstream)
	}
	return addrPort.String(), nil
}

// network reads an address, a network, or "*" for every one.
func network(text string) ([]netip.Prefix, error) {
	if text == "*" {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("%q is neither an address, a network nor \"*\"", text)
	}
	return []netip.Prefix{prefix.Masked()}, nil
}
