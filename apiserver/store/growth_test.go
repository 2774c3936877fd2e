package store

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"orrery.example.org/api"
)

// BenchmarkGrowth is what the store's memory costs when a kind has many objects: without
// etcd, which would take minutes to fill and answers none of these.
//
//	go test -run '^$' -bench Growth ./apiserver/store
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		c, bytes := grown(b, n)
		ctx := context.Background()
		measure := func(name string, f func(i int) error) {
			b.Run(fmt.Sprintf("objects=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if err := f(i); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(bytes, "B/object")
			})
		}
		measure("get", func(int) error {
			_, err := c.Get(ctx, "default", "web-000500", false)
			return err
		})
		measure("list", func(int) error {
			_, err := c.List(ctx, ListOptions{})
			return err
		})
		page := ListOptions{Limit: 500}
		measure("page", func(int) error {
			l, err := c.List(ctx, page)
			if err == nil {
				page.Continue = l.Continue
			}
			return err
		})
		measure("change", func(i int) error {
			revision := c.store.clock.now() + 1
			p := pod(i % n)
			c.feed.Load().append(c.cache.apply([]change{{c.key(p.Namespace, p.Name), newVersion(p, revision), revision}}), time.Now())
			c.store.clock.advance(revision)
			return nil
		})
	}
}

// grown is a collection of n pods, and how much memory each occupies.
func grown(b *testing.B, n int) (*Collection, float64) {
	var s *Store
	s = New(nil, "/registry/", []*api.Kind{pods}, quiet, WithRevision(func(context.Context) (int64, error) { return s.clock.now(), nil }))
	close(s.ready)
	close(s.recalled)
	c := s.Collection(pods)
	before := inUse()
	loaded := newState()
	for i := range n {
		stored, err := c.codec.encode(pod(i))
		if err != nil {
			b.Fatal(err)
		}
		object, err := c.codec.decode(stored) // as it is after a start
		if err != nil {
			b.Fatal(err)
		}
		loaded.ReplaceOrInsert(item{c.key("default", object.GetName()), newVersion(object, int64(i+1))})
	}
	c.cache.replace(loaded, int64(n))
	c.feed.Store(newFeed(int64(n)))
	s.clock.advance(int64(n))
	return c, float64(inUse()-before) / float64(n)
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
