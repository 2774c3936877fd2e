package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orrery.example.org/api"
)

// Write is what to do to one object, in one transaction.
type Write struct {
	Object api.Object    // nil deletes it
	TTL    time.Duration // 0: no expiry

	// Claim names must be free everywhere (or held by this object already) and are
	// taken with this write, e.g. "clusterips/10.96.0.7". Release names are given back;
	// a deletion gives back all that the object holds.
	Claim   []string
	Release []string

	// Beside are other objects that come and go with this write, whatever is stored of
	// them now. What they stand for must be claimed, or two writers undo each other's.
	Beside []Beside
}

// Beside is an object that is written in the transaction of another one.
type Beside struct {
	Kind            *api.Kind
	Namespace, Name string
	Object          api.Object // nil deletes it
}

// Change decides what to write from what is there now; current is nil if nothing
// is. It may be called again when somebody else wrote first, or when the current it
// saw was not the latest, so it must be free of side effects. Its error is returned
// by Write as it is.
type Change func(current *Version) (Write, error)

// Write changes one object by compare-and-swap and returns the version it wrote
// (for a deletion the last state with the deletion's revision). A change that
// leaves the stored bytes as they are writes nothing and returns the current one.
//
// The version returned is the one that the cache will hold, a moment later: a stale
// Get or List right after Write may still miss it, any other read will not.
func (c *Collection) Write(ctx context.Context, namespace, name string, change Change) (*Version, error) {
	if err := c.store.filled(ctx); err != nil {
		return nil, err
	}
	t := &transaction{c: c, key: c.key(namespace, name)}
	t.path = c.path(t.key)
	// The first attempt trusts what this server knows. That is hardly ever behind, and
	// if it is, the transaction finds out.
	t.current = c.store.pending.newer(t.path, c.cache.get(t.key))
	for {
		w, err := change(t.current)
		var value []byte
		if err == nil && w.Object != nil {
			value, err = c.codec.encode(w.Object)
		}
		if err == nil && !t.idle(w, value) {
			v, err := t.commit(ctx, w, value)
			if !errors.Is(err, errConflict) {
				return v, err
			}
			continue // on what is there now
		}
		// Neither a refusal nor "nothing to do" may rest on an old state.
		if moved, lookErr := t.look(ctx); lookErr != nil {
			return nil, lookErr
		} else if moved {
			continue
		}
		if err == nil && w.Object == nil {
			err = apierrors.NewNotFound(c.kind.GroupResource(), name)
		}
		if err != nil {
			return nil, err
		}
		return t.current, nil
	}
}

// errConflict: somebody else wrote first. It does not leave this file.
var errConflict = errors.New("somebody else wrote first")

// transaction is one Write under way.
type transaction struct {
	c       *Collection
	key     string
	path    string
	current *Version // what the next attempt builds on
	fresh   bool     // current is from etcd, not from the cache
	held    []string // claimed names that turned out to be this object's already
}

func (t *transaction) revision() int64 {
	if t.current == nil {
		return 0
	}
	return t.current.Revision
}

// idle says whether the write would change nothing.
func (t *transaction) idle(w Write, value []byte) bool {
	if w.Object == nil {
		return t.current == nil
	}
	if t.current == nil || len(w.Claim)+len(w.Release)+len(w.Beside) > 0 {
		return false
	}
	stored, err := t.c.codec.encode(t.current.Object)
	return err == nil && bytes.Equal(stored, value)
}

// look makes sure that current is, or becomes, the latest, and says whether it moved.
func (t *transaction) look(ctx context.Context) (moved bool, err error) {
	if t.fresh {
		return false, nil
	}
	if err := t.c.store.current(ctx); err != nil {
		return false, err
	}
	t.fresh = true
	latest := t.c.cache.get(t.key)
	moved = (latest == nil) != (t.current == nil) || latest != nil && latest.Revision != t.current.Revision
	t.current = latest
	return moved, nil
}

// commit tries the write once. On errConflict current is what was there instead.
func (t *transaction) commit(ctx context.Context, w Write, value []byte) (*Version, error) {
	s := t.c.store
	w.Claim = unique(w.Claim)
	if w.Object == nil {
		// Claims change only with their object: at its revision the list is complete.
		if err := s.WaitFor(ctx, t.revision()); err != nil {
			return nil, err
		}
		w.Release = append(w.Release, s.claims.of(t.path)...)
	}
	w.Release = unique(w.Release)
	lease, err := s.leases.get(ctx, w.TTL)
	if err != nil {
		return nil, translate("write "+t.path, err)
	}
	var ours *pendingWrite
	if w.Object != nil {
		// What was written is what anybody will read: an empty list may have become none.
		object, err := t.c.codec.decode(value)
		if err != nil {
			return nil, err
		}
		ours = s.pending.add(t.path, value, object)
	}
	answer, err := t.send(ctx, w, value, lease)
	if err == nil && answer.Succeeded {
		if ours == nil {
			return t.current.at(answer.Header.Revision), nil
		}
		return s.pending.done(t.path, ours, answer.Header.Revision), nil
	}
	if ours != nil {
		s.pending.drop(t.path, ours)
	}
	if err != nil {
		return nil, translate("write "+t.path, err)
	}
	return nil, t.lost(answer, w.Claim)
}

// unique is the names in order, each once.
func unique(names []string) []string {
	sorted := slices.Sorted(slices.Values(names))
	return slices.Compact(sorted)
}

// send builds and sends etcd's transaction.
func (t *transaction) send(ctx context.Context, w Write, value []byte, lease clientv3.LeaseID) (*clientv3.TxnResponse, error) {
	s := t.c.store
	unchanged := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(t.path), "=", t.revision())}
	var then []clientv3.Op
	if w.Object == nil {
		then = append(then, clientv3.OpDelete(t.path))
	} else {
		then = append(then, clientv3.OpPut(t.path, string(value), clientv3.WithLease(lease)))
	}
	otherwise := []clientv3.Op{clientv3.OpGet(t.path)}
	for _, name := range w.Claim {
		otherwise = append(otherwise, clientv3.OpGet(s.claimPath(name)))
		if slices.Contains(t.held, name) {
			unchanged = append(unchanged, clientv3.Compare(clientv3.Value(s.claimPath(name)), "=", t.path))
			continue
		}
		unchanged = append(unchanged, s.free(name))
		then = append(then, clientv3.OpPut(s.claimPath(name), t.path, clientv3.WithLease(lease)))
	}
	for _, name := range w.Release {
		if !slices.Contains(w.Claim, name) { // claimed in the same breath: kept
			then = append(then, s.release(name, t.path))
		}
	}
	beside, err := s.beside(w.Beside)
	if err != nil {
		return nil, err
	}
	then = append(then, beside...)
	return s.client.Txn(ctx).If(unchanged...).Then(then...).Else(otherwise...).Commit()
}

// beside are the operations on the objects that go with a write.
func (s *Store) beside(objects []Beside) ([]clientv3.Op, error) {
	var ops []clientv3.Op
	for _, b := range objects {
		c := s.kinds[b.Kind]
		if c == nil {
			continue // a cluster without this kind
		}
		path := c.path(c.key(b.Namespace, b.Name))
		if b.Object == nil {
			ops = append(ops, clientv3.OpDelete(path))
			continue
		}
		value, err := c.codec.encode(b.Object)
		if err != nil {
			return nil, err
		}
		ops = append(ops, clientv3.OpPut(path, string(value)))
	}
	return ops, nil
}

// lost finds out why a transaction did not succeed.
func (t *transaction) lost(answer *clientv3.TxnResponse, claimed []string) error {
	found := func(r *etcdserverpb.ResponseOp) []byte {
		if kvs := r.GetResponseRange().Kvs; len(kvs) > 0 {
			return kvs[0].Value
		}
		return nil
	}
	kvs := answer.Responses[0].GetResponseRange().Kvs
	switch {
	case len(kvs) == 0 && t.current != nil:
		t.current, t.fresh, t.held = nil, true, nil
		return errConflict
	case len(kvs) > 0 && kvs[0].ModRevision != t.revision():
		object, err := t.c.codec.decode(kvs[0].Value)
		if err != nil {
			return err
		}
		t.current, t.fresh, t.held = newVersion(object, kvs[0].ModRevision), true, nil
		return errConflict
	}
	t.held = nil
	for i, name := range claimed {
		switch holder := found(answer.Responses[1+i]); {
		case holder == nil:
		case string(holder) == t.path:
			t.held = append(t.held, name)
		default:
			return &ErrClaimed{Name: name}
		}
	}
	return errConflict // a name was this object's own, or is free again
}
