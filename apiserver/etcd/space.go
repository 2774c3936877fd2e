package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// guardedKV refuses writes while the disk is nearly full. etcd gives up for good when
// a write to its files fails; refused writes do no harm, reads go on, and when there
// is space again so do writes.
//
// Others fill disks, too, and may be quicker than we look: what is accepted between two
// looks goes to space that the files already own. For its log etcd sees to that itself,
// the database gets a cushion here.
type guardedKV struct {
	clientv3.KV
	dir     string
	reserve int64

	mu        sync.Mutex
	checked   time.Time
	err       error
	allocated int64 // how much of the disk the database owns at least
}

// Between two looks at the disk etcd writes less than the cushion, far less than the
// reserve.
const (
	spaceCheckInterval = 100 * time.Millisecond
	cushion            = 16 << 20
)

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
		} else {
			g.err = g.allocate()
		}
	}
	return g.err
}

// allocate makes the blocks of the database's file its own, holes included, and a
// cushion beyond its end.
func (g *guardedKV) allocate() error {
	f, err := os.OpenFile(filepath.Join(g.dir, "member", "snap", "db"), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("look at the database: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want := info.Size() + cushion
	if want <= g.allocated {
		return nil
	}
	switch err := syscall.Fallocate(int(f.Fd()), fallocKeepSize, 0, want); err {
	case nil, syscall.EOPNOTSUPP: // a file system that can't promise space
		g.allocated = want
		return nil
	case syscall.EINTR:
		return nil // the next look does it
	default:
		return fmt.Errorf("allocate %d MiB for the database: %w: %w", want>>20, err, rpctypes.ErrNoSpace)
	}
}

const fallocKeepSize = 1 // FALLOC_FL_KEEP_SIZE

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
