package etcd

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// guardedKV refuses writes while the disk is nearly full. etcd gives up for good when
// a write to its files fails; refused writes do no harm, reads go on, and when there
// is space again so do writes.
type guardedKV struct {
	clientv3.KV
	dir     string
	reserve int64

	mu      sync.Mutex
	checked time.Time
	err     error
}

// Between two looks at the disk etcd writes far less than the reserve.
const spaceCheckInterval = 100 * time.Millisecond

// space is nil, or an error that wraps etcd's own for a database that is full.
func (g *guardedKV) space() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.checked) > spaceCheckInterval {
		g.checked, g.err = now, nil
		var fs syscall.Statfs_t
		if err := syscall.Statfs(g.dir, &fs); err != nil {
			g.err = fmt.Errorf("look for free disk space: %w", err)
		} else if free := int64(fs.Bavail) * fs.Bsize; free < g.reserve {
			g.err = fmt.Errorf("only %d MiB are free on the disk of %s, writes need %d: %w",
				free>>20, g.dir, g.reserve>>20, rpctypes.ErrNoSpace)
		}
	}
	return g.err
}

// Put is refused on a full disk.
func (g *guardedKV) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	if err := g.space(); err != nil {
		return nil, err
	}
	return g.KV.Put(ctx, key, value, opts...)
}

// Txn is refused on a full disk when it is committed.
func (g *guardedKV) Txn(ctx context.Context) clientv3.Txn {
	if err := g.space(); err != nil {
		return refusedTxn{err}
	}
	return g.KV.Txn(ctx)
}

type refusedTxn struct{ err error }

func (t refusedTxn) If(...clientv3.Cmp) clientv3.Txn        { return t }
func (t refusedTxn) Then(...clientv3.Op) clientv3.Txn       { return t }
func (t refusedTxn) Else(...clientv3.Op) clientv3.Txn       { return t }
func (t refusedTxn) Commit() (*clientv3.TxnResponse, error) { return nil, t.err }
