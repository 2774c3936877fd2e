package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"orrery.example.org/host"
)

// dialTimeout is how long a first answer of the cluster is waited for.
const dialTimeout = 10 * time.Second

// dial connects to an external cluster.
func dial(ctx context.Context, cfg Config, log *slog.Logger) (*Member, error) {
	tlsConfig, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %s", dialTimeout))
	defer cancel()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Servers,
		TLS:                  tlsConfig,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    30 * time.Second, // kube-apiserver's figures
		DialKeepAliveTimeout: 10 * time.Second,
		DialOptions:          dialOptions(cfg.Host),
		Logger:               newFault(log).logger(),
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd at %s: %w", strings.Join(cfg.Servers, ", "), err)
	}
	if _, err := client.Get(ctx, compactKey, clientv3.WithCountOnly()); err != nil {
		client.Close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("etcd at %s does not answer: %w: check the addresses and certificates", strings.Join(cfg.Servers, ", "), err)
	}
	running, stop := context.WithCancel(context.Background())
	var compaction sync.WaitGroup
	if cfg.CompactionInterval > 0 {
		compaction.Go(func() { compact(running, client, cfg.CompactionInterval, log) })
	}
	m := &Member{client: client}
	m.close = sync.OnceFunc(func() {
		stop()
		compaction.Wait()
		client.Close()
	})
	return m, nil
}

// dialOptions makes the connections leave from the host's place.
func dialOptions(place *host.Host) []grpc.DialOption {
	if place == nil {
		return nil // gRPC's own dialer, which also resolves names
	}
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return place.Dial(ctx, "tcp", address)
	})}
}

func tlsConfig(cfg Config) (*tls.Config, error) {
	secure := cfg.CAFile != "" || cfg.CertFile != "" || cfg.KeyFile != ""
	for _, server := range cfg.Servers {
		secure = secure || strings.HasPrefix(server, "https://")
	}
	if !secure {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read etcd's CA (ca-file): %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read etcd's CA (ca-file): no certificate in %s", cfg.CAFile)
		}
	}
	if cfg.CertFile == "" && cfg.KeyFile == "" {
		return c, nil
	}
	if cfg.CertFile == "" || cfg.KeyFile == "" {
		return nil, errors.New("etcd's client certificate needs both cert-file and key-file")
	}
	pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load the client certificate for etcd: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// compactKey holds the revision that is compacted next. Its version is a lock: all API
// servers of a cluster, kube-apiserver included, take turns by it, so that history is
// kept for the interval however many of them there are.
const compactKey = "compact_rev_key"

// compact discards, once an interval, the history from before the last interval.
//
// Kubernetes: the same protocol, by the same key. The embedded member compacts by
// etcd's own periodic mode, which needs no key.
func compact(ctx context.Context, client *clientv3.Client, interval time.Duration, log *slog.Logger) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var turn, seen int64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var err error
		if turn, seen, err = compactOnce(ctx, client, turn, seen); err != nil && ctx.Err() == nil {
			log.Warn("could not compact etcd's history; trying again later", "error", err)
		}
	}
}

// compactOnce compacts at revision rev if the key is still at the version of our last
// turn; else somebody else was first. It returns the key's version and the revision
// to compact next time.
func compactOnce(ctx context.Context, client *clientv3.Client, turn, rev int64) (int64, int64, error) {
	answer, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(compactKey), "=", turn)).
		Then(clientv3.OpPut(compactKey, strconv.FormatInt(rev, 10))).
		Else(clientv3.OpGet(compactKey)).
		Commit()
	if err != nil {
		return turn, rev, err
	}
	now := answer.Header.Revision
	if !answer.Succeeded {
		held := answer.Responses[0].GetResponseRange().Kvs
		if len(held) == 0 { // somebody removed the key; begin anew
			return 0, now, nil
		}
		return held[0].Version, now, nil
	}
	if rev != 0 { // the first turn only finds out what the present revision is
		if _, err := client.Compact(ctx, rev); err != nil {
			return turn + 1, now, err
		}
	}
	return turn + 1, now, nil
}
