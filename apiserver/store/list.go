package store

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orrery.example.org/api"
)

// ListOptions select versions.
type ListOptions struct {
	Namespace string // "" for all
	Match     func(api.Object) bool

	// Revision and Exact carry resourceVersion and resourceVersionMatch: 0 with
	// AnyRevision serves what the cache has, 0 without it what etcd has now, another
	// number a state at least that new, or with Exact just that one.
	Revision    int64
	AnyRevision bool
	Exact       bool

	Limit    int64
	Continue string
}

// List is a consistent snapshot.
type List struct {
	Items     []*Version
	Revision  int64
	Continue  string
	Remaining *int64 // nil where it isn't known (a selector is set)
}

// List returns the selected versions in key order. A revision that etcd no longer
// has is apierrors.NewResourceExpired (410), one from the future is a timeout error
// with cause ResourceVersionTooLarge, as upstream's.
func (c *Collection) List(ctx context.Context, o ListOptions) (*List, error) {
	p := page{match: o.Match, limit: o.Limit}
	if o.Namespace != "" && c.kind.Namespaced {
		p.prefix = o.Namespace + "/"
	}
	p.start = p.prefix
	if o.Continue != "" {
		return c.nextPage(ctx, p, o.Continue)
	}
	if o.Exact && o.Revision > 0 {
		list, err := c.listAt(ctx, p, o.Revision)
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil, apierrors.NewResourceExpired(oldList)
		}
		return list, err
	}
	var err error
	switch {
	case o.Revision > 0:
		err = c.store.WaitFor(ctx, o.Revision)
	case o.AnyRevision:
		err = c.store.filled(ctx)
	default:
		err = c.store.current(ctx)
	}
	if err != nil {
		return nil, err
	}
	snapshot, revision := c.snapshot()
	return p.of(snapshot, revision), nil
}

// nextPage goes on with a list where its last page ended.
func (c *Collection) nextPage(ctx context.Context, p page, token string) (*List, error) {
	t, err := parseContinue(token)
	if err != nil {
		return nil, err
	}
	// The token is relative to what is listed, as upstream's: in a namespace just the name.
	p.start = p.prefix + t.Start
	if t.Revision == -1 { // rather the rest as it is now than nothing
		if err := c.store.current(ctx); err != nil {
			return nil, err
		}
		snapshot, revision := c.snapshot()
		return p.of(snapshot, revision), nil
	}
	p.left = t.Left
	list, err := c.listAt(ctx, p, t.Revision)
	if errors.Is(err, rpctypes.ErrCompacted) {
		return nil, errOldContinue(t.Start)
	}
	return list, err
}

// listAt lists the state at a revision: from memory, if the feed reaches back to it,
// else from etcd.
func (c *Collection) listAt(ctx context.Context, p page, revision int64) (*List, error) {
	if err := c.store.WaitFor(ctx, revision); err != nil {
		return nil, err
	}
	past, err := c.at(ctx, revision)
	if err == nil && past == nil {
		past, err = c.fetch(ctx, p.start, p.prefix, revision)
	}
	if err != nil {
		return nil, err
	}
	return p.of(past, revision), nil
}

// fetch reads the state from a key on from etcd's history.
func (c *Collection) fetch(ctx context.Context, start, prefix string, revision int64) (state, error) {
	past := newState()
	end := clientv3.GetPrefixRangeEnd(c.path(prefix))
	err := c.store.scan(ctx, c.path(start), end, revision, func(key string, value []byte, modified int64) {
		_, key = c.store.route(key)
		object, err := c.codec.decode(value)
		if err != nil {
			c.store.log.Error("an object is left out of a list", "key", c.path(key), "error", err)
			return
		}
		past.ReplaceOrInsert(item{key, newVersion(object, modified)})
	})
	return past, err
}

// page is a part of a state.
type page struct {
	prefix string
	start  string
	match  func(api.Object) bool
	limit  int64 // 0: all
	left   int64 // objects from start on; 0: not known
}

// of cuts the page out of a state.
func (p page) of(s state, revision int64) *List {
	list := &List{Revision: revision}
	if p.limit <= 0 && p.match == nil && p.prefix == "" {
		list.Items = make([]*Version, 0, s.Len())
	}
	var last string
	var left, counted int64
	if p.start == "" { // nobody has counted, and nobody needs to
		p.left = int64(s.Len())
	}
	s.AscendGreaterOrEqual(item{key: p.start}, func(i item) bool {
		switch {
		case !strings.HasPrefix(i.key, p.prefix):
			return false
		case p.limit > 0 && int64(len(list.Items)) == p.limit:
			if left = p.left - p.limit; left > 0 {
				return false
			}
			counted++
			return p.match == nil // who selects is not told how many are left
		case p.match == nil || p.match(i.version.Object):
			list.Items = append(list.Items, i.version)
			last = i.key
		}
		return true
	})
	if left = max(left, counted); left > 0 {
		next := after(strings.TrimPrefix(last, p.prefix), revision)
		if p.match == nil {
			list.Remaining, next.Left = &left, left
		}
		list.Continue = next.String()
	}
	return list
}
