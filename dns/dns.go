// Package dns is the cluster's DNS server: the part CoreDNS with its kubernetes
// plugin plays upstream. It turns a name such as web.default.svc.cluster.local into
// the Service's address, and an address back into names.
//
// In flow the Services, EndpointSlices and Namespaces of the API (and the Pods, where
// pod names are verified), each by list and watch into a compact index. Out flow the
// answers that the Kubernetes DNS specification 1.1.0 asks for, over UDP and TCP.
//
//	watch.go    the API's objects, as they change  ->  index.go, what an answer needs of them
//	udp.go, tcp.go  ->  message.go, what every DNS server does  ->  resolve.go, who has the answer:
//	records.go and lookup.go, what the cluster's names mean, autopath.go, what a search list
//	would find next, or outside.go, what upstreams say (forward/) and have said (cache/)
//	replies.go, what was answered before, and is still true
//
// records.go is the heart, and pure: a question and a view of the index, to an answer.
// Where the specification is silent, CoreDNS's answer is ours, down to its quirks.
// settings.go is the configuration in force, reload.go replaces it under way.
//
// Left out: a chain of plugins (what kubeadm's Corefile configures is built in, and
// autopath), DNSSEC, DNS over TLS.
package dns

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/host"
)

// Config says what to serve and where. Start from Defaults.
type Config struct {
	// Listen holds the addresses to serve on, each by UDP and TCP: host:port, where
	// host is a literal IP or empty for all of them.
	Listen []string `mapstructure:"listen"`
	// Domain is the cluster's domain, the zone that names of Services live in.
	Domain string `mapstructure:"domain"`
	// ReverseZones are the zones of PTR records, under in-addr.arpa and ip6.arpa.
	ReverseZones []string `mapstructure:"reverse-zones"`
	// TTL is the lifetime of every answer in seconds, negative ones too. kubeadm's
	// Corefile says 30; CoreDNS's own default, and ours, is 5, which shows a learner
	// what changed while he still looks.
	TTL int `mapstructure:"ttl"`
	// Pods says how 10-244-1-7.default.pod.cluster.local is answered: "disabled" (it
	// does not exist), "insecure" (with the address it spells) or "verified" (if a Pod
	// of that namespace has the address).
	Pods string `mapstructure:"pods"`
	// Upstreams are the resolvers that answer names outside the cluster: IP, IP:port, or
	// a file in the form of /etc/resolv.conf that names them. Without any, such names do
	// not exist.
	Upstreams []string `mapstructure:"upstreams"`
	// StubDomains are zones with upstreams of their own.
	StubDomains []StubDomain `mapstructure:"stub-domains"`
	// CacheTTL and DenialTTL bound how many seconds an upstream's answer is kept, and its
	// word that there is none. 0 keeps nothing.
	CacheTTL  int `mapstructure:"cache-ttl"`
	DenialTTL int `mapstructure:"cache-denial-ttl"`
	// Autopath goes a Pod's search list to its end for the client: a name outside the
	// cluster then costs one question instead of four.
	Autopath bool `mapstructure:"autopath"`
	// TransferTo are the clients that may transfer the zone (AXFR): addresses, networks,
	// or "*".
	TransferTo []string `mapstructure:"transfer-to"`

	// HealthAddress, ReadyAddress and MetricsAddress serve /health, /ready and /metrics
	// by HTTP; empty turns one off.
	HealthAddress  string `mapstructure:"health-address"`
	ReadyAddress   string `mapstructure:"ready-address"`
	MetricsAddress string `mapstructure:"metrics-address"`

	// LogQueries writes a line per query, as CoreDNS's log plugin does.
	LogQueries bool `mapstructure:"log-queries"`

	Host   *host.Host   `mapstructure:"-"` // where to listen and to dial upstreams from
	Client *rest.Config `mapstructure:"-"` // how to reach the API
	Log    *slog.Logger `mapstructure:"-"`

	// Reloads brings further configurations while the server runs; see Reload.
	Reloads <-chan Reload `mapstructure:"-"`

	clientset kubernetes.Interface // instead of Client: a fake one, in tests
}

// StubDomain is a zone that upstreams of its own answer for.
type StubDomain struct {
	Zone      string   `mapstructure:"zone"`
	Upstreams []string `mapstructure:"upstreams"`
}

// Pod modes, by the names they have in a Corefile.
const (
	podsDisabled = "disabled"
	podsInsecure = "insecure"
	podsVerified = "verified"
)

// Defaults is what kubeadm's Corefile configures, but for the TTL and autopath.
func Defaults() Config {
	return Config{
		Listen:         []string{":53"},
		Domain:         "cluster.local",
		ReverseZones:   []string{"in-addr.arpa", "ip6.arpa"},
		TTL:            5,
		Pods:           podsInsecure,
		CacheTTL:       30,
		DenialTTL:      30,
		Autopath:       true,
		HealthAddress:  ":8080",
		ReadyAddress:   ":8181",
		MetricsAddress: ":9153",
	}
}

// validate reports everything that is wrong with a configuration.
func (c *Config) validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Client == nil && c.clientset == nil {
		refuse("no client for the API")
	}
	if len(c.Listen) == 0 {
		refuse("listen: no address to listen on")
	}
	for _, address := range c.Listen {
		if !listenable(address) {
			refuse("listen: %q is not of the form [IP]:port", address)
		}
	}
	for _, zone := range append([]string{c.Domain}, c.ReverseZones...) {
		if _, ok := dns.IsDomainName(zone); !ok || strings.Trim(zone, ".") == "" {
			refuse("domain or reverse zone %q is not a domain name", zone)
		}
	}
	if c.TTL < 0 || c.TTL > 3600 {
		refuse("ttl: %d is not between 0 and 3600 seconds", c.TTL)
	}
	switch c.Pods {
	case podsDisabled, podsInsecure, podsVerified:
	default:
		refuse("pods: %q is none of disabled, insecure, verified", c.Pods)
	}
	for name, ttl := range map[string]int{"cache-ttl": c.CacheTTL, "cache-denial-ttl": c.DenialTTL} {
		if ttl < 0 || ttl > 3600 {
			refuse("%s: %d is not between 0 and 3600 seconds", name, ttl)
		}
	}
	c.validateForwarding(refuse)
	for _, to := range c.TransferTo {
		if _, err := network(to); err != nil {
			refuse("transfer-to: %w", err)
		}
	}
	return errors.Join(errs...)
}

// validateForwarding looks at what upstreams are configured.
func (c *Config) validateForwarding(refuse func(string, ...any)) {
	for _, upstream := range c.Upstreams {
		if err := c.checkUpstream(upstream); err != nil {
			refuse("upstreams: %w", err)
		}
	}
	seen := map[string]bool{}
	for _, stub := range c.StubDomains {
		zone := fqdn(stub.Zone)
		switch _, ok := dns.IsDomainName(zone); {
		case !ok || zone == ".":
			refuse("stub-domains: %q is not a domain name", stub.Zone)
		case zone == fqdn(c.Domain):
			refuse("stub-domains: %q is the cluster's own domain", stub.Zone)
		case seen[zone]:
			refuse("stub-domains: %q is there twice", stub.Zone)
		case len(stub.Upstreams) == 0:
			refuse("stub-domains: %q has no upstreams", stub.Zone)
		}
		seen[zone] = true
		for _, upstream := range stub.Upstreams {
			if err := c.checkUpstream(upstream); err != nil {
				refuse("stub-domains: %q: %w", stub.Zone, err)
			}
		}
	}
}

// checkUpstream refuses what is no upstream, and an upstream that is this server.
func (c *Config) checkUpstream(upstream string) error {
	if isFile(upstream) {
		return nil
	}
	address, err := upstreamAddress(upstream)
	if err == nil && slices.Contains(c.Listen, address) {
		return fmt.Errorf("%s is where this server listens", address)
	}
	return err
}

// listenable reports whether an address is [IP]:port: a name would be resolved in the
// wrong place, and by the very server that is about to start.
func listenable(address string) bool {
	ip, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(ip)
	return ip == "" || err == nil
}
