package controller

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"orrery.example.org/controller/loadbalancer"
	"orrery.example.org/controller/nodeipam"
	"orrery.example.org/pki"
)

// Config is the controller manager's configuration. The zero value of a field means
// its default.
type Config struct {
	// Client reaches the API server.
	Client *rest.Config `mapstructure:"-"`
	Log    *slog.Logger `mapstructure:"-"`
	// Scheduler is how the scheduler reaches it, as system:kube-scheduler; nil: as Client.
	Scheduler *rest.Config `mapstructure:"-"`
	// RootCA is the certificate, in PEM, by which Pods know the API server. It is
	// published in every namespace; none is if it is empty.
	RootCA []byte `mapstructure:"-"`

	// ClusterCIDR is what the nodes' Pod ranges are cut from: one CIDR, or one of each
	// family with a comma between them.
	ClusterCIDR string `mapstructure:"cluster-cidr"`
	// NodeCIDRMaskSize is the size of one node's range, NodeCIDRMaskSizeIPv6 for IPv6. The
	// other one's name is upstream's for clusters with both; 0: as NodeCIDRMaskSize.
	NodeCIDRMaskSize     int `mapstructure:"node-cidr-mask-size"`
	NodeCIDRMaskSizeIPv4 int `mapstructure:"node-cidr-mask-size-ipv4"`
	NodeCIDRMaskSizeIPv6 int `mapstructure:"node-cidr-mask-size-ipv6"`

	// LoadBalancerPool is what Services of type LoadBalancer get their addresses from:
	// CIDRs and ranges (first-last). Without one nobody here looks at them.
	LoadBalancerPool []string `mapstructure:"load-balancer-pool"`
	// LoadBalancerClass is the loadBalancerClass of Services that get one as well. Those
	// of other classes are left alone.
	LoadBalancerClass string `mapstructure:"load-balancer-class"`

	// NodeMonitorPeriod is how often each node's lease is looked at, and
	// NodeMonitorGracePeriod how long it may go without renewal before the node counts
	// as unreachable. A node that has never reported anything gets NodeStartupGracePeriod.
	NodeMonitorPeriod      time.Duration `mapstructure:"node-monitor-period"`
	NodeMonitorGracePeriod time.Duration `mapstructure:"node-monitor-grace-period"`
	NodeStartupGracePeriod time.Duration `mapstructure:"node-startup-grace-period"`

	// ClusterSigningCertFile and ClusterSigningKeyFile are the CA that signs the
	// certificates which approved requests ask for, for no longer than
	// ClusterSigningDuration. Nobody signs if they are empty and SigningCA is nil.
	ClusterSigningCertFile string        `mapstructure:"cluster-signing-cert-file"`
	ClusterSigningKeyFile  string        `mapstructure:"cluster-signing-key-file"`
	ClusterSigningDuration time.Duration `mapstructure:"cluster-signing-duration"`
	SigningCA              *pki.CA       `mapstructure:"-"` // instead of the files
	// ApproveKubeletServing approves the requests of nodes for serving certificates whose
	// names and addresses are those of their Node.
	ApproveKubeletServing bool `mapstructure:"approve-kubelet-serving"`

	// LeaderElect has several managers agree, through a Lease, on the one that works.
	LeaderElect bool `mapstructure:"leader-elect"`

	// How many objects each loop works on at once, by upstream's flag names.
	ConcurrentEndpointSyncs        int `mapstructure:"concurrent-endpoint-syncs"`
	ConcurrentServiceEndpointSyncs int `mapstructure:"concurrent-service-endpoint-syncs"`
	ConcurrentDeploymentSyncs      int `mapstructure:"concurrent-deployment-syncs"`
	ConcurrentReplicaSetSyncs      int `mapstructure:"concurrent-replicaset-syncs"`
	ConcurrentNamespaceSyncs       int `mapstructure:"concurrent-namespace-syncs"`
	ConcurrentGCSyncs              int `mapstructure:"concurrent-gc-syncs"`
	// ConcurrentBindings is how many Pods the scheduler binds at once.
	ConcurrentBindings int `mapstructure:"concurrent-bindings"`
}

// Defaults are upstream's, on the lab's networks.
//
// Kubernetes: LeaderElect is true upstream, and nobody approves serving certificates
// (docs/decisions/0007).
func Defaults() Config {
	return Config{
		ClusterCIDR:                    "10.244.0.0/16",
		NodeCIDRMaskSize:               24,
		NodeCIDRMaskSizeIPv6:           64,
		LoadBalancerPool:               []string{"172.30.100.0/24"},
		LoadBalancerClass:              "orrery.example.org/load-balancer",
		NodeMonitorPeriod:              5 * time.Second,
		NodeMonitorGracePeriod:         50 * time.Second,
		NodeStartupGracePeriod:         60 * time.Second,
		ClusterSigningDuration:         365 * 24 * time.Hour,
		ApproveKubeletServing:          true,
		ConcurrentEndpointSyncs:        5,
		ConcurrentServiceEndpointSyncs: 5,
		ConcurrentDeploymentSyncs:      5,
		ConcurrentReplicaSetSyncs:      5,
		ConcurrentNamespaceSyncs:       10,
		ConcurrentGCSyncs:              20,
		ConcurrentBindings:             16,
	}
}

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	d := Defaults()
	for _, f := range []struct{ have, want *int }{
		{&c.NodeCIDRMaskSize, &d.NodeCIDRMaskSize},
		{&c.NodeCIDRMaskSizeIPv6, &d.NodeCIDRMaskSizeIPv6},
		{&c.ConcurrentEndpointSyncs, &d.ConcurrentEndpointSyncs},
		{&c.ConcurrentServiceEndpointSyncs, &d.ConcurrentServiceEndpointSyncs},
		{&c.ConcurrentDeploymentSyncs, &d.ConcurrentDeploymentSyncs},
		{&c.ConcurrentReplicaSetSyncs, &d.ConcurrentReplicaSetSyncs},
		{&c.ConcurrentNamespaceSyncs, &d.ConcurrentNamespaceSyncs},
		{&c.ConcurrentGCSyncs, &d.ConcurrentGCSyncs},
		{&c.ConcurrentBindings, &d.ConcurrentBindings},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	for _, f := range []struct{ have, want *time.Duration }{
		{&c.NodeMonitorPeriod, &d.NodeMonitorPeriod},
		{&c.NodeMonitorGracePeriod, &d.NodeMonitorGracePeriod},
		{&c.NodeStartupGracePeriod, &d.NodeStartupGracePeriod},
		{&c.ClusterSigningDuration, &d.ClusterSigningDuration},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	if c.ClusterCIDR == "" {
		c.ClusterCIDR = d.ClusterCIDR
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	if c.Client == nil {
		return errors.New("controller: no client configuration")
	}
	for name, n := range map[string]int{
		"concurrent-endpoint-syncs":         c.ConcurrentEndpointSyncs,
		"concurrent-service-endpoint-syncs": c.ConcurrentServiceEndpointSyncs,
		"concurrent-deployment-syncs":       c.ConcurrentDeploymentSyncs,
		"concurrent-replicaset-syncs":       c.ConcurrentReplicaSetSyncs,
		"concurrent-namespace-syncs":        c.ConcurrentNamespaceSyncs,
		"concurrent-gc-syncs":               c.ConcurrentGCSyncs,
		"concurrent-bindings":               c.ConcurrentBindings,
	} {
		if n < 1 {
			return fmt.Errorf("controller: %s is %d, must be at least 1", name, n)
		}
	}
	for name, d := range map[string]time.Duration{
		"node-monitor-period":       c.NodeMonitorPeriod,
		"node-monitor-grace-period": c.NodeMonitorGracePeriod,
		"node-startup-grace-period": c.NodeStartupGracePeriod,
		"cluster-signing-duration":  c.ClusterSigningDuration,
	} {
		if d < 0 {
			return fmt.Errorf("controller: %s is %s, must be positive", name, d)
		}
	}
	if (c.ClusterSigningCertFile == "") != (c.ClusterSigningKeyFile == "") {
		return errors.New("controller: cluster-signing-cert-file and cluster-signing-key-file are needed both, or neither")
	}
	if err := c.nodeRanges().Validate(); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	if err := c.loadBalancers().Validate(); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	return nil
}

// signer finds the CA that signs; nil if there is none. The files are read anew for
// each certificate, so that a renewed CA needs no restart.
func (c Config) signer() func() (*pki.CA, error) {
	switch {
	case c.SigningCA != nil:
		return func() (*pki.CA, error) { return c.SigningCA, nil }
	case c.ClusterSigningCertFile != "":
		return func() (*pki.CA, error) { return pki.LoadCA(c.ClusterSigningCertFile, c.ClusterSigningKeyFile) }
	}
	return nil
}

func (c Config) loadBalancers() loadbalancer.Options {
	return loadbalancer.Options{Pool: c.LoadBalancerPool, Class: c.LoadBalancerClass}
}

func (c Config) nodeRanges() nodeipam.Options {
	return nodeipam.Options{ClusterCIDR: c.ClusterCIDR, MaskSize: cmp.Or(c.NodeCIDRMaskSizeIPv4, c.NodeCIDRMaskSize), MaskSizeV6: c.NodeCIDRMaskSizeIPv6}
}
