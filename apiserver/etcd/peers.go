package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/raft/v3"
)

// Peers says which members, each in an API server of its own, are this one's cluster. The
// keys are etcd's flags. Members speak to each other by TLS only, and only who has a
// certificate of their CA is one.
type Peers struct {
	Name                string   `mapstructure:"name" usage:"this member's name in initial-cluster"`
	InitialCluster      string   `mapstructure:"initial-cluster" usage:"all members: NAME=https://ADDRESS:2380,…; empty: this one is alone"`
	InitialClusterState string   `mapstructure:"initial-cluster-state" usage:"new, or existing for a member that was added to a cluster"`
	InitialClusterToken string   `mapstructure:"initial-cluster-token" usage:"tells clusters apart"`
	ListenPeerURLs      []string `mapstructure:"listen-peer-urls" usage:"where peers reach this member; by default as initial-cluster says"`

	ListenClientURLs    []string `mapstructure:"listen-client-urls" usage:"where etcdctl and ctl etcd reach this member; by default port 2379 beside its peers'"`
	AdvertiseClientURLs []string `mapstructure:"advertise-client-urls" usage:"what is told of that; by default port 2379 beside initial-cluster's"`

	PeerCertFile      string `mapstructure:"peer-cert-file"` // shown to peers, as their servers and clients both
	PeerKeyFile       string `mapstructure:"peer-key-file"`
	PeerTrustedCAFile string `mapstructure:"peer-trusted-ca-file"` // who signs the peers' certificates
}

func (p Peers) any() bool { return p.InitialCluster != "" }

// member is the name of a member with peers.
func (p Peers) member() string {
	if !p.any() {
		return ""
	}
	return p.Name
}

// validate says what is missing or wrong.
func (p Peers) validate() error {
	if !p.any() {
		return nil
	}
	_, err := p.URLs()
	switch {
	case err != nil:
		return err
	case p.PeerCertFile == "" || p.PeerKeyFile == "" || p.PeerTrustedCAFile == "":
		return errors.New("etcd's peers need peer-cert-file, peer-key-file and peer-trusted-ca-file")
	case !slices.Contains([]string{"", embed.ClusterStateFlagNew, embed.ClusterStateFlagExisting}, p.InitialClusterState):
		return fmt.Errorf("etcd's initial-cluster-state is %q, must be new or existing", p.InitialClusterState)
	}
	return nil
}

// URLs are where initial-cluster says that peers reach this member.
func (p Peers) URLs() ([]url.URL, error) {
	members, err := types.NewURLsMap(p.InitialCluster)
	if err != nil {
		return nil, fmt.Errorf("etcd's initial-cluster: %w", err)
	}
	for name, urls := range members {
		for _, u := range urls {
			if u.Scheme != "https" {
				return nil, fmt.Errorf("etcd's initial-cluster: %s of %s must begin with https: members do not speak to each other in the clear", u.String(), name)
			}
		}
	}
	own, ok := members[p.Name]
	if !ok {
		return nil, fmt.Errorf("etcd's initial-cluster has no member %q (name): there are %s", p.Name, members)
	}
	return own, nil
}

// peerConfig is a member among others, by etcd's own defaults for everything that they
// have to agree on.
func peerConfig(cfg Config) (*embed.Config, error) {
	own, err := cfg.URLs()
	if err != nil {
		return nil, err
	}
	ec := baseConfig(cfg)
	ec.Name, ec.InitialCluster = cfg.Name, cfg.InitialCluster
	ec.AdvertisePeerUrls, ec.ListenPeerUrls = own, own
	if len(cfg.ListenPeerURLs) > 0 {
		if ec.ListenPeerUrls, err = types.NewURLs(cfg.ListenPeerURLs); err != nil {
			return nil, fmt.Errorf("etcd's listen-peer-urls: %w", err)
		}
	}
	if cfg.InitialClusterState != "" {
		ec.ClusterState = cfg.InitialClusterState
	}
	if cfg.InitialClusterToken != "" {
		ec.InitialClusterToken = cfg.InitialClusterToken
	}
	if ec.ListenClientUrls, err = clientURLs("listen-client-urls", cfg.ListenClientURLs, ec.ListenPeerUrls); err != nil {
		return nil, err
	}
	if ec.AdvertiseClientUrls, err = clientURLs("advertise-client-urls", cfg.AdvertiseClientURLs, own); err != nil {
		return nil, err
	}
	ec.PeerTLSInfo = transport.TLSInfo{
		CertFile: cfg.PeerCertFile, KeyFile: cfg.PeerKeyFile, TrustedCAFile: cfg.PeerTrustedCAFile, ClientCertAuth: true,
		SkipClientSANVerify: true, // the CA vouches for members alone, and they may have more addresses than one
	}
	ec.ClientTLSInfo = ec.PeerTLSInfo // whoever the CA vouches for may administer the members
	return ec, nil
}

// clientPort is etcd's.
const clientPort = "2379"

// clientURLs are those that were given, or the ones beside the peers'.
func clientURLs(key string, given []string, peers []url.URL) ([]url.URL, error) {
	if len(given) > 0 {
		urls, err := types.NewURLs(given)
		if err != nil {
			return nil, fmt.Errorf("etcd's %s: %w", key, err)
		}
		return urls, nil
	}
	beside := slices.Clone(peers)
	for i := range beside {
		beside[i].Host = net.JoinHostPort(beside[i].Hostname(), clientPort)
	}
	return beside, nil
}

// launchWithPeers starts the server and waits until the cluster has a leader and this
// member has caught up with it.
func launchWithPeers(ctx context.Context, cfg Config, dir *dataDir, fault *fault) (*embed.Etcd, error) {
	ec, err := peerConfig(cfg)
	if err != nil {
		return nil, err
	}
	// From the first message on the others count on what is here: nothing of it may be
	// thrown away after a crash.
	if err := dir.complete(); err != nil {
		return nil, err
	}
	if err := awaitLog(ctx, filepath.Join(cfg.DataDir, memberDir)); err != nil {
		return nil, err
	}
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(fault.logger())
	server, err := guarded(fault, func() (*embed.Etcd, error) { return embed.StartEtcd(ec) })
	if err != nil {
		return nil, fmt.Errorf("start etcd's member %s on %s: %w%s", cfg.Name, cfg.DataDir, err, advice(err, cfg.Name))
	}
	if err := joined(ctx, cfg, server, fault); err != nil {
		server.Server.Stop() // first: Close waits for what begins with a quorum
		stop(server, fault)
		return nil, err
	}
	return server, nil
}

// advice is what to do where a member's data are lost, and its peers still know it.
func advice(err error, name string) string {
	if !strings.Contains(err.Error(), "already been bootstrapped") {
		return ""
	}
	return fmt.Sprintf("; its data are lost, and with an empty directory it must not vote as if it were the %s that the others know: "+
		"ctl etcd member replace %[1]s, and start it with an empty directory and initial-cluster-state existing", name)
}

// joined waits for a quorum, and says for whom.
func joined(ctx context.Context, cfg Config, server *embed.Etcd, fault *fault) error {
	tell := time.NewTicker(5 * time.Second)
	defer tell.Stop()
	for {
		select {
		case <-server.Server.ReadyNotify():
			return nil
		case <-tell.C:
			if uint64(server.Server.Leader()) == raft.None {
				fault.log.Warn("waiting for a quorum of etcd's members", "name", cfg.Name, "silent", silent(ctx, cfg))
			} else {
				fault.log.Info("catching up with etcd's leader", "name", cfg.Name)
			}
		case err := <-server.Err():
			return fmt.Errorf("serve etcd's peers: %w", err)
		case <-fault.c:
			return fault.get()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// silent are the members that nobody listens for.
func silent(ctx context.Context, cfg Config) (names []string) {
	members, _ := types.NewURLsMap(cfg.InitialCluster) // it was valid
	for name, urls := range members {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		if conn, err := cfg.Host.Dial(ctx, "tcp", urls[0].Host); err != nil {
			names = append(names, name)
		} else {
			_ = conn.Close()
		}
		cancel()
	}
	slices.Sort(names)
	return names
}
