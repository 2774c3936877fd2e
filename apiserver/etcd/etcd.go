// Package etcd gives the API server its etcd: an embedded member that lives in this
// process, alone and without a port or with members in other API servers as its peers,
// or a client of an external cluster.
//
// Upstream counterpart: the etcd binary that runs beside kube-apiserver, and
// kube-apiserver's --etcd-* flags (k8s.io/apiserver/pkg/storage/storagebackend), its
// compactor included. In flows a Config, out a *clientv3.Client that the store works
// on; nothing else of etcd's server is visible outside.
//
// Left out: changes of the membership, but for replacing a member (members.go). For those
// there is etcdctl: members with peers listen for etcd's own clients, too.
package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"orrery.example.org/host"
)

// Config says where the cluster's state lives: in DataDir, or, where Servers are
// named, in that etcd cluster.
type Config struct {
	DataDir string `mapstructure:"data-dir"`

	Servers  []string `mapstructure:"servers"`   // URLs of an external cluster: https://10.0.0.1:2379
	CAFile   string   `mapstructure:"ca-file"`   // who signs the servers' certificates
	CertFile string   `mapstructure:"cert-file"` // our certificate and key towards them
	KeyFile  string   `mapstructure:"key-file"`

	Peers `mapstructure:",squash"`

	// UnsafeNoFsync answers writes before they are on disk. For throw-away clusters in
	// tests: a crash of the machine (not of the process) loses data.
	UnsafeNoFsync bool `mapstructure:"unsafe-no-fsync"`

	// CompactionInterval is how much history etcd keeps at least (and about twice that
	// at most), which is how long paged lists and watches can be resumed. Negative: all
	// of it, for ever.
	CompactionInterval time.Duration `mapstructure:"compaction-interval"`

	// QuotaBytes is how large the embedded database may grow.
	QuotaBytes int64 `mapstructure:"quota-bytes"`

	// ReserveBytes of free disk space are left alone: below that writes are refused
	// before etcd meets the full disk, which it would not survive. Negative: no reserve.
	ReserveBytes int64 `mapstructure:"reserve-bytes"`

	Host *host.Host `mapstructure:"-"` // where Servers are dialled from
}

// Defaults is the configuration of a single machine, but for DataDir.
func Defaults() Config {
	return Config{
		CompactionInterval: 5 * time.Minute, // kube-apiserver's --etcd-compaction-interval
		QuotaBytes:         2 << 30,         // etcd's own default
		ReserveBytes:       64 << 20,        // a few WAL segments and steps of the database's growth
	}
}

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	d := Defaults()
	if c.CompactionInterval == 0 {
		c.CompactionInterval = d.CompactionInterval
	}
	if c.QuotaBytes == 0 {
		c.QuotaBytes = d.QuotaBytes
	}
	if c.ReserveBytes == 0 {
		c.ReserveBytes = d.ReserveBytes
	}
	return c
}

// Member is an etcd to work on: the embedded one or a connection to others.
type Member struct {
	client   *clientv3.Client
	revision func(context.Context) (int64, error)
	failed   <-chan struct{} // nil: cannot fail on its own
	err      func() error
	close    func()
}

// Start starts the embedded member, or dials cfg.Servers, and returns once writes
// are accepted.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Member, error) {
	if log == nil {
		log = slog.Default()
	}
	cfg = cfg.withDefaults()
	switch {
	case len(cfg.Servers) > 0:
		return dial(ctx, cfg, log)
	case cfg.DataDir != "":
		return startEmbedded(ctx, cfg, log)
	}
	return nil, fmt.Errorf("etcd needs a data directory (data-dir) or the addresses of an etcd cluster (servers)")
}

// Client speaks to the member. It is closed by Close.
func (m *Member) Client() *clientv3.Client { return m.client }

// Revision returns a function that tells etcd's present revision at no cost: every
// write that was acknowledged to anybody before the call is at or below it. It is nil
// for a cluster of several members, which has to be asked.
func (m *Member) Revision() func(context.Context) (int64, error) { return m.revision }

// Shared says whether other API servers may be at work on the same data.
func (m *Member) Shared() bool { return m.revision == nil }

// Failed is closed when the embedded member met an error it cannot work on from, a
// failing disk for one. Err says which. What was acknowledged is on disk; the process
// has to be started again.
func (m *Member) Failed() <-chan struct{} { return m.failed }

// Err is nil unless the member has failed.
func (m *Member) Err() error {
	if m.err == nil {
		return nil
	}
	return m.err()
}

// Close ends the client and the member, and returns when they have ended.
func (m *Member) Close() { m.close() }
