// Package proxy is the node's Service proxy: it watches Services and EndpointSlices and
// keeps the kernel of its node's network namespace forwarding to the right endpoints.
//
// What must be true is decided in proxy/plan, which is pure; how a kernel is told so is
// the business of a backend (proxy/iptables, proxy/nftables, proxy/ipvs). This package is the shell around them: the
// informers, the loop that coalesces events into syncs, the repair of what others did to
// the rules, health and metrics.
//
// Upstream counterpart: kube-proxy, cmd/kube-proxy and pkg/proxy of
// kubernetes/kubernetes.
//
// Kubernetes: upstream waits a second between syncs and 30 seconds after a failure. Here
// a sync starts with the event that asks for it, events that come while one runs share
// the next, and failures are retried with growing delay. A changed address of the node
// leads to a new plan where upstream restarts.
package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"orrery.example.org/host"
	"orrery.example.org/proxy/ipvs"
	"orrery.example.org/proxy/plan"
)

// Config is what a Proxy needs to know.
type Config struct {
	NodeName   string   `mapstructure:"node-name"`
	Mode       string   `mapstructure:"mode"`        // "iptables", "nftables", "ipvs"
	IPFamilies []string `mapstructure:"ip-families"` // "IPv4", "IPv6"

	// DetectLocalMode is how Pods of this node are told from other clients: ClusterCIDR,
	// NodeCIDR, BridgeInterface or InterfaceNamePrefix.
	DetectLocalMode        string `mapstructure:"detect-local-mode"`
	ClusterCIDR            string `mapstructure:"cluster-cidr"` // at most one per family, separated by a comma
	ServiceCIDR            string `mapstructure:"service-cidr"` // where ClusterIPs come from; likewise
	BridgeInterface        string `mapstructure:"bridge-interface"`
	PodInterfaceNamePrefix string `mapstructure:"pod-interface-name-prefix"`

	MasqueradeAll      bool     `mapstructure:"masquerade-all"`
	MasqueradeBit      int      `mapstructure:"masquerade-bit"`
	NodePortAddresses  []string `mapstructure:"nodeport-addresses"` // CIDRs or "primary"; none: all addresses, or "primary" with nftables
	LocalhostNodePorts bool     `mapstructure:"localhost-nodeports"`
	IPTablesVariant    string   `mapstructure:"iptables-variant"` // "nft", "legacy"; "": what the machine is set to

	IPVSScheduler     string        `mapstructure:"ipvs-scheduler"`      // rr, lc, sh, …; "": rr
	IPVSStrictARP     bool          `mapstructure:"ipvs-strict-arp"`     // the addresses of Services are not answered for by ARP
	IPVSExcludeCIDRs  []string      `mapstructure:"ipvs-exclude-cidrs"`  // virtual servers of others, which stay
	IPVSTCPTimeout    time.Duration `mapstructure:"ipvs-tcp-timeout"`    // for connections that are idle; 0: the kernel's
	IPVSTCPFinTimeout time.Duration `mapstructure:"ipvs-tcpfin-timeout"` // for those that have got a FIN
	IPVSUDPTimeout    time.Duration `mapstructure:"ipvs-udp-timeout"`

	MinSyncPeriod  time.Duration `mapstructure:"min-sync-period"`  // the least time between two syncs
	SyncPeriod     time.Duration `mapstructure:"sync-period"`      // how often the kernel's rules are checked
	FullSyncPeriod time.Duration `mapstructure:"full-sync-period"` // how often, where there are too many to check
	CleanupOnExit  bool          `mapstructure:"cleanup-on-exit"`  // rules stay otherwise: the node goes on serving

	// What conntrack is given: room, and patience with idle connections. 0 leaves the
	// kernel's own.
	ConntrackMaxPerCore  int           `mapstructure:"conntrack-max-per-core"`
	ConntrackMin         int           `mapstructure:"conntrack-min"`
	ConntrackEstablished time.Duration `mapstructure:"conntrack-tcp-timeout-established"`
	ConntrackCloseWait   time.Duration `mapstructure:"conntrack-tcp-timeout-close-wait"`

	HealthzBindAddress string `mapstructure:"healthz-bind-address"` // "": none
	MetricsBindAddress string `mapstructure:"metrics-bind-address"` // "": none

	Host   *host.Host   `mapstructure:"-"`
	Client *rest.Config `mapstructure:"-"`
	Log    *slog.Logger `mapstructure:"-"`
}

// Defaults is a Config that lacks only NodeName and Client.
func Defaults() Config {
	return Config{
		Mode:                 ModeIPTables,
		IPFamilies:           []string{string(plan.IPv4)},
		DetectLocalMode:      "ClusterCIDR",
		ClusterCIDR:          "10.244.0.0/16",
		ServiceCIDR:          "10.96.0.0/12",
		MasqueradeBit:        14,
		LocalhostNodePorts:   true,
		IPVSScheduler:        "rr",
		SyncPeriod:           30 * time.Second,
		FullSyncPeriod:       time.Hour,
		ConntrackMaxPerCore:  32768,
		ConntrackMin:         131072,
		ConntrackEstablished: 24 * time.Hour,
		ConntrackCloseWait:   time.Hour,
		HealthzBindAddress:   "0.0.0.0:10256",
		MetricsBindAddress:   "127.0.0.1:10249",
	}
}

// validate says everything that is wrong with the Config at once.
func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.NodeName == "" {
		bad("node-name is missing")
	}
	if _, err := modeOf(c.Mode); err != nil {
		errs = append(errs, err)
	}
	if !slices.Contains([]string{"", "nft", "legacy"}, c.IPTablesVariant) {
		bad("iptables-variant %q is unknown; there are: nft, legacy", c.IPTablesVariant)
	}
	if c.IPVSScheduler != "" && !slices.Contains(ipvs.Schedulers, c.IPVSScheduler) {
		bad("ipvs-scheduler %q is unknown; there are: %s", c.IPVSScheduler, strings.Join(ipvs.Schedulers, ", "))
	}
	if _, err := prefixes(c.IPVSExcludeCIDRs); err != nil {
		bad("ipvs-exclude-cidrs: %w", err)
	}
	if min(c.IPVSTCPTimeout, c.IPVSTCPFinTimeout, c.IPVSUDPTimeout) < 0 {
		bad("ipvs-tcp-timeout, ipvs-tcpfin-timeout and ipvs-udp-timeout must not be negative")
	}
	if c.MasqueradeBit < 0 || c.MasqueradeBit > 31 {
		bad("masquerade-bit %d is not within 0 and 31", c.MasqueradeBit)
	}
	if len(c.IPFamilies) == 0 {
		bad("ip-families is empty")
	}
	for _, f := range c.IPFamilies {
		if f != string(plan.IPv4) && f != string(plan.IPv6) {
			bad("ip-families: %q is unknown; there are: IPv4, IPv6", f)
		}
	}
	if c.SyncPeriod <= 0 || c.FullSyncPeriod <= 0 {
		bad("sync-period and full-sync-period must be positive")
	}
	if _, err := c.nodePortPrefixes(); err != nil {
		errs = append(errs, err)
	}
	if _, err := firstOf(plan.IPv4, c.ServiceCIDR); err != nil {
		bad("service-cidr: %w", err)
	}
	for _, f := range c.IPFamilies {
		if _, err := c.local(plan.Family(f), ""); err != nil {
			errs = append(errs, err)
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("proxy configuration: %w", err)
	}
	return nil
}

// local says how to tell a Pod of this node from other clients (P25). podCIDRs are the
// node's own, for the mode NodeCIDR.
func (c *Config) local(family plan.Family, podCIDRs string) (plan.Local, error) {
	switch c.DetectLocalMode {
	case "ClusterCIDR":
		cidr, err := firstOf(family, c.ClusterCIDR)
		if err != nil {
			return plan.Local{}, fmt.Errorf("cluster-cidr: %w", err)
		}
		return plan.Local{CIDR: cidr}, nil
	case "NodeCIDR":
		cidr, err := firstOf(family, podCIDRs)
		return plan.Local{CIDR: cidr}, err
	case "BridgeInterface":
		return plan.Local{Interface: c.BridgeInterface}, nil
	case "InterfaceNamePrefix":
		return plan.Local{Interface: c.PodInterfaceNamePrefix + "+"}, nil
	}
	return plan.Local{}, fmt.Errorf("detect-local-mode %q is unknown; there are: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix", c.DetectLocalMode)
}

// firstOf is the first CIDR of a family in a list, invalid if there is none.
func firstOf(family plan.Family, list string) (netip.Prefix, error) {
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			return cidr, err
		}
		if cidr.Addr().Is4() == (family == plan.IPv4) {
			return cidr.Masked(), nil
		}
	}
	return netip.Prefix{}, nil
}

// nodePortPrefixes parses NodePortAddresses; "primary" is left to the node's own IP.
func (c *Config) nodePortPrefixes() ([]netip.Prefix, error) {
	all, err := prefixes(slices.DeleteFunc(slices.Clone(c.NodePortAddresses), func(text string) bool { return text == "primary" }))
	if err != nil {
		return nil, fmt.Errorf("nodeport-addresses: %w", err)
	}
	return all, nil
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Masked())
	}
	return all, nil
}
