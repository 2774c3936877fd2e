package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"

	"orrery.example.org/host"
	"orrery.example.org/node/console"
	"orrery.example.org/node/network"
	"orrery.example.org/node/server"
	"orrery.example.org/node/workload"
	"orrery.example.org/pki"
)

// Version is what the node reports as its kubelet's version.
var Version = "v1.37.2+orrery"

// What may be the parent of containers' programs.
const (
	parentAgent = "agent"
	parentShim  = "shim"
)

// Config of a node's agent. The zero value of most fields means Defaults' value.
type Config struct {
	Name          string           `mapstructure:"name"`           // of the Node object, and its hostname
	NodeIP        []string         `mapstructure:"node-ip"`        // the node's InternalIPs: one, or one of each family; the HTTPS server listens at the first
	Port          int              `mapstructure:"port"`           // of the HTTPS server
	Labels        []string         `mapstructure:"labels"`         // more labels for the Node, each "key=value"
	MaxPods       int              `mapstructure:"max-pods"`       // Pods beyond this many are rejected
	ClusterDNS    []string         `mapstructure:"cluster-dns"`    // nameservers of Pods with dnsPolicy ClusterFirst
	ClusterDomain string           `mapstructure:"cluster-domain"` // the cluster's DNS suffix
	ClusterCIDR   []string         `mapstructure:"cluster-cidr"`   // of all Pods, at most one per family; packets of Pods to elsewhere are masqueraded; none: none are
	PodNetwork    string           `mapstructure:"pod-network"`    // how packets get to the Pods of other nodes: "routes" or "vxlan"
	VXLANID       int              `mapstructure:"vxlan-id"`       // tells this cluster's VXLAN packets from others'
	VXLANPort     int              `mapstructure:"vxlan-port"`     // UDP
	StateDir      string           `mapstructure:"state-dir"`      // one directory per Pod: its files and logs
	Images        []workload.Image `mapstructure:"images"`         // the catalog; see workload.Catalog

	ContainerParent      string `mapstructure:"container-parent"`        // of their programs: "agent", with which they end, or "shim", which outlives it
	PodMaxPIDs           int    `mapstructure:"pod-max-pids"`            // processes of one Pod, where there are limits; -1: as many as it likes
	ContainerLogMaxSize  string `mapstructure:"container-log-max-size"`  // a quantity; a log file does not become larger
	ContainerLogMaxFiles int    `mapstructure:"container-log-max-files"` // of one container

	LeaseDuration  time.Duration `mapstructure:"lease-duration"`  // silence of the agent that makes its node NotReady
	RenewInterval  time.Duration `mapstructure:"renew-interval"`  // of the Lease
	StatusInterval time.Duration `mapstructure:"status-interval"` // of a Node status that did not change

	Host   *host.Host   `mapstructure:"-"` // the node's network namespace
	Client *rest.Config `mapstructure:"-"`
	// Network is how the Pod network reaches it: the routes need all Nodes, of which an
	// agent may see only its own. nil: there are no routes to the Pods of other nodes.
	//
	// Kubernetes: the network is a plugin with a ServiceAccount.
	Network  *rest.Config `mapstructure:"-"`
	Serving  pki.Pair     `mapstructure:"-"` // certificate of the HTTPS server
	ClientCA []byte       `mapstructure:"-"` // PEM; who signs the certificates that may enter

	// ServingCertificate is asked for each connection, instead of Serving, if it is set.
	ServingCertificate server.CertificateFunc `mapstructure:"-"`

	// Workloads adds built-in programs to those of package workload, by name.
	Workloads []workload.Named `mapstructure:"-"`
	Log       *slog.Logger     `mapstructure:"-"`
}

// Defaults are upstream's, as far as upstream has the setting.
func Defaults() Config {
	return Config{
		Port:          10250,
		MaxPods:       110,
		ClusterDNS:    []string{"10.96.0.10"},
		ClusterDomain: "cluster.local",
		ClusterCIDR:   []string{"10.244.0.0/16"},
		PodNetwork:    "routes",
		VXLANID:       1,
		VXLANPort:     8472,
		Images:        workload.DefaultImages(),

		ContainerParent:      parentAgent,
		PodMaxPIDs:           -1,
		ContainerLogMaxSize:  "10Mi",
		ContainerLogMaxFiles: 5,

		LeaseDuration:  40 * time.Second,
		RenewInterval:  10 * time.Second,
		StatusInterval: 5 * time.Minute,
	}
}

// complete fills in defaults and says what is wrong with the rest.
func (c Config) complete() (Config, error) {
	d := Defaults()
	setDefault(&c.Port, d.Port)
	setDefault(&c.MaxPods, d.MaxPods)
	setDefault(&c.ClusterDomain, d.ClusterDomain)
	setDefault(&c.PodNetwork, d.PodNetwork)
	setDefault(&c.VXLANID, d.VXLANID)
	setDefault(&c.VXLANPort, d.VXLANPort)
	setDefault(&c.ContainerParent, d.ContainerParent)
	setDefault(&c.LeaseDuration, d.LeaseDuration)
	setDefault(&c.RenewInterval, d.RenewInterval)
	setDefault(&c.StatusInterval, d.StatusInterval)
	setDefault(&c.PodMaxPIDs, d.PodMaxPIDs)
	setDefault(&c.ContainerLogMaxSize, d.ContainerLogMaxSize)
	setDefault(&c.ContainerLogMaxFiles, d.ContainerLogMaxFiles)
	if len(c.ClusterDNS) == 0 {
		c.ClusterDNS = d.ClusterDNS
	}
	if len(c.Images) == 0 {
		c.Images = d.Images
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("name: a node needs one"))
	}
	errs = append(errs, c.checkAddresses()...)
	if c.PodNetwork != "routes" && c.PodNetwork != "vxlan" {
		errs = append(errs, fmt.Errorf("pod-network %q is unknown; there are: routes, vxlan", c.PodNetwork))
	}
	if c.VXLANID < 1 || c.VXLANID >= 1<<24 || c.VXLANPort < 1 || c.VXLANPort >= 1<<16 {
		errs = append(errs, fmt.Errorf("vxlan-id %d must be within 1 and 16777215, vxlan-port %d within 1 and 65535", c.VXLANID, c.VXLANPort))
	}
	if _, err := c.logLimits(); err != nil {
		errs = append(errs, err)
	}
	if err := workload.Check(c.Images); err != nil {
		errs = append(errs, err)
	}
	if c.ContainerParent != parentAgent && c.ContainerParent != parentShim {
		errs = append(errs, fmt.Errorf("container-parent %q is unknown; there are: agent, shim", c.ContainerParent))
	}
	if c.StateDir == "" {
		errs = append(errs, errors.New("state-dir: a directory for the Pods' files is needed"))
	}
	if c.Client == nil {
		errs = append(errs, errors.New("a client configuration for the API server is needed"))
	}
	if c.RenewInterval >= c.LeaseDuration {
		errs = append(errs, fmt.Errorf("renew-interval %s must be shorter than lease-duration %s", c.RenewInterval, c.LeaseDuration))
	}
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("node %s: %w", c.Name, err)
	}
	return c, nil
}

// checkAddresses says what is wrong with the node's addresses and those it is told of.
func (c *Config) checkAddresses() (errs []error) {
	if len(c.NodeIP) == 0 {
		errs = append(errs, errors.New("node-ip: a node needs an address, e.g. 192.0.2.11, or one of each family with a comma between them"))
	}
	families := map[bool]bool{}
	for _, text := range c.NodeIP {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("node-ip: %w", err))
		} else if families[addr.Is4()] {
			errs = append(errs, fmt.Errorf("node-ip %s: give one address, or one of each family", strings.Join(c.NodeIP, ",")))
		}
		families[addr.Is4()] = true
	}
	for _, text := range c.ClusterDNS {
		if _, err := netip.ParseAddr(text); err != nil {
			errs = append(errs, fmt.Errorf("cluster-dns: %w", err))
		}
	}
	for _, text := range c.ClusterCIDR {
		if _, err := netip.ParsePrefix(text); err != nil {
			errs = append(errs, fmt.Errorf("cluster-cidr: %w", err))
		}
	}
	return errs
}

// addrs are the node's addresses. (They were checked.)
func (c *Config) addrs() (all []netip.Addr) {
	for _, text := range c.NodeIP {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

// podRanges are all Pods' addresses whose packets to elsewhere are masqueraded.
func (c *Config) podRanges() (all []netip.Prefix) {
	for _, text := range c.ClusterCIDR {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// vxlan is nil where the nodes' network takes Pods' packets as they are.
func (c *Config) vxlan() *network.VXLAN {
	if c.PodNetwork != "vxlan" {
		return nil
	}
	return &network.VXLAN{ID: c.VXLANID, Port: c.VXLANPort}
}

// logLimits are those of each container's log.
func (c *Config) logLimits() (console.Limits, error) {
	size, err := resource.ParseQuantity(c.ContainerLogMaxSize)
	switch {
	case err != nil:
		return console.Limits{}, fmt.Errorf("container-log-max-size %q: %w", c.ContainerLogMaxSize, err)
	case size.Value() == 0:
		return console.Limits{}, errors.New("container-log-max-size must not be 0; -1 is without end")
	case c.ContainerLogMaxFiles < 2:
		return console.Limits{}, fmt.Errorf("container-log-max-files %d must be at least 2", c.ContainerLogMaxFiles)
	}
	return console.Limits{Size: max(0, size.Value()), Files: c.ContainerLogMaxFiles}, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
