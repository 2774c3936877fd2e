package etcd

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3"
)

// leaderPatience is how long an election may take that nobody hears of. It is etcd's
// election timeout, twice, and some.
const leaderPatience = 3 * time.Second

// election knows whether a member's cluster has a leader. A cluster without one would keep
// whoever asks waiting for seven seconds and say no more than that it timed out.
type election struct{ server *etcdserver.EtcdServer }

// led is nil once there is a leader, or an error that wraps etcd's own for no leader.
// Then nothing was done.
func (e election) led(ctx context.Context) error {
	if uint64(e.server.Leader()) != raft.None {
		return nil
	}
	late := time.After(leaderPatience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if uint64(e.server.Leader()) != raft.None {
				return nil
			}
		case <-late:
			return fmt.Errorf("fewer than half of the %d members are left: %w", len(e.server.Cluster().Members()), rpctypes.ErrNoLeader)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", rpctypes.ErrNoLeader, ctx.Err())
		}
	}
}

// ledKV asks for a leader before what needs one.
type ledKV struct {
	clientv3.KV
	election
}

// Get needs a leader unless it is serializable, which nobody here asks for.
func (k *ledKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := k.led(ctx); err != nil {
		return nil, err
	}
	return k.KV.Get(ctx, key, opts...)
}

// Put needs a leader.
func (k *ledKV) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	if err := k.led(ctx); err != nil {
		return nil, err
	}
	return k.KV.Put(ctx, key, value, opts...)
}

// Txn needs a leader when it is committed.
func (k *ledKV) Txn(ctx context.Context) clientv3.Txn {
	if err := k.led(ctx); err != nil {
		return refusedTxn{err}
	}
	return k.KV.Txn(ctx)
}

// ledLease does so for leases.
type ledLease struct {
	clientv3.Lease
	election
}

// Grant needs a leader.
func (l *ledLease) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	if err := l.led(ctx); err != nil {
		return nil, err
	}
	return l.Lease.Grant(ctx, ttl)
}
