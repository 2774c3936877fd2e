package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leases make objects expire. A lease per object would double the writes of every
// Event, so objects written within a minute share one, and live up to that much
// longer. So it is upstream.
type leases struct {
	client *clientv3.Client

	mu     sync.Mutex
	shared map[time.Duration]*sharedLease
}

type sharedLease struct {
	id    clientv3.LeaseID
	until time.Time // from here on it may end too early for another object
	used  int
}

const (
	leaseReuse   = time.Minute
	leaseObjects = 1000 // etcd deletes all objects of a lease in one step
)

// get returns a lease that lasts at least ttl; none for 0.
func (l *leases) get(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	if ttl <= 0 {
		return clientv3.NoLease, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if lease := l.shared[ttl]; lease != nil && now.Before(lease.until) && lease.used < leaseObjects {
		lease.used++
		return lease.id, nil
	}
	reuse := min(leaseReuse, ttl/10+time.Second)
	granted, err := l.client.Grant(ctx, int64((ttl+reuse+time.Second-1)/time.Second))
	if err != nil {
		return clientv3.NoLease, fmt.Errorf("make a lease of %s: %w", ttl, err)
	}
	if l.shared == nil {
		l.shared = map[time.Duration]*sharedLease{}
	}
	l.shared[ttl] = &sharedLease{id: granted.ID, until: now.Add(reuse), used: 1}
	return granted.ID, nil
}
