package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// serverPrefix is where the API servers that work on one etcd say that they are alive,
// each by a key with its address, which goes away when it is not written again.
//
// Upstream counterpart: pkg/controlplane/reconcilers/lease.go, with the same keys; their
// values, which nobody reads, are Endpoints there.
const serverPrefix = "masterleases/"

// Announce says for so long that there is an API server at the address.
func (s *Store) Announce(ctx context.Context, server netip.Addr, ttl time.Duration) error {
	lease, err := s.client.Grant(ctx, int64(ttl/time.Second))
	if err == nil {
		_, err = s.client.Put(ctx, s.prefix+serverPrefix+server.String(), "", clientv3.WithLease(lease.ID))
	}
	return translate("announce this API server", err)
}

// Withdraw takes it back.
func (s *Store) Withdraw(ctx context.Context, server netip.Addr) error {
	_, err := s.client.Delete(ctx, s.prefix+serverPrefix+server.String())
	return translate("withdraw this API server", err)
}

// Servers are the addresses of those that are there now, in order.
func (s *Store) Servers(ctx context.Context) ([]netip.Addr, error) {
	r, err := s.client.Get(ctx, s.prefix+serverPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, translate("list the API servers", err)
	}
	var servers []netip.Addr
	var bad error
	for _, kv := range r.Kvs {
		address, err := netip.ParseAddr(strings.TrimPrefix(string(kv.Key), s.prefix+serverPrefix))
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("the key of an API server: %w", err))
			continue
		}
		servers = append(servers, address)
	}
	return servers, bad
}
