package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orrery.example.org/api"
)

// offline is a store without etcd: the test tells it what happened.
func offline() (*Store, *Collection) {
	var s *Store
	s = New(nil, "/registry/", []*api.Kind{configMaps, nodes}, quiet,
		WithRevision(func(context.Context) (int64, error) { return s.clock.now(), nil }))
	close(s.ready)
	close(s.recalled)
	s.clock.advance(1)
	return s, s.Collection(configMaps)
}

// tell makes one change, at the next revision; a deletion if value is "".
func tell(c *Collection, namespace, name, value string) {
	ch := change{key: c.key(namespace, name), revision: c.store.clock.now() + 1}
	if value != "" {
		ch.version = newVersion(configMap(namespace, name, value), ch.revision)
	}
	c.feed.Load().append(c.cache.apply([]change{ch}), time.Now())
	c.store.clock.advance(ch.revision)
}

// text is a notice in a word.
func text(n Notice) string {
	switch {
	case n.InitialEnd:
		return fmt.Sprintf("end@%d", n.Bookmark)
	case n.Bookmark != 0:
		return fmt.Sprintf("mark@%d", n.Bookmark)
	}
	return fmt.Sprintf("%c %s=%s@%s", n.Type[0], n.Version.Object.GetName(), value(n.Version), n.Version.Object.GetResourceVersion())
}

// next is what the watcher has now.
func next(t *testing.T, w *Watcher) []string {
	t.Helper()
	batch, err := w.Next(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range batch {
		out = append(out, text(n))
	}
	return out
}

func TestWatchOptions(t *testing.T) {
	_, c := offline()
	tell(c, "default", "a", "1") // 2
	tell(c, "other", "b", "1")   // 3
	tell(c, "default", "a", "2") // 4
	tell(c, "default", "c", "1") // 5
	tell(c, "default", "c", "")  // 6
	tests := []struct {
		what string
		o    WatchOptions
		want string
	}{
		{"from a revision", WatchOptions{Revision: 3}, "M a=2@4, A c=1@5, D c=1@6"},
		{"a namespace", WatchOptions{Revision: 2, Namespace: "other"}, "A b=1@3"},
		{"a name", WatchOptions{Revision: 1, Namespace: "default", Name: "a"}, "A a=1@2, M a=2@4"},
		{"a name in any namespace", WatchOptions{Revision: 1, Name: "b"}, "A b=1@3"},
		{"the present state", WatchOptions{}, "A a=2@4, A b=1@3"},
		{"the cached state", WatchOptions{Any: true, Name: "b"}, "A b=1@3"},
		{"with its end", WatchOptions{Initial: true}, "A a=2@4, A b=1@3, end@6"},
		{"at least a revision, with its end", WatchOptions{Initial: true, Revision: 5, Namespace: "default"}, "A a=2@4, end@6"},
		{"nothing, with its end", WatchOptions{Initial: true, Namespace: "none"}, "end@6"},
	}
	for _, test := range tests {
		w, err := c.Watch(testContext(t), test.o)
		if err != nil {
			t.Errorf("%s: %v", test.what, err)
			continue
		}
		if got := strings.Join(next(t, w), ", "); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
		w.Stop()
		w.Stop()
		if batch, err := w.Next(t.Context()); len(batch) != 0 || err != nil {
			t.Errorf("%s: not ended by Stop: %v, %v", test.what, batch, err)
		}
	}
	if idle := len(c.feed.Load().idle); idle != 0 {
		t.Errorf("%d watchers are still there", idle)
	}
}

// TestWatchGoesOn: what comes later is delivered, too, until the watch is ended in one
// of four ways.
func TestWatchGoesOn(t *testing.T) {
	_, c := offline()
	ctx, cancel := context.WithCancel(testContext(t))
	until := make(chan struct{})
	o := WatchOptions{Namespace: "default", Initial: true, Until: until}
	var watchers []*Watcher
	for _, ctx := range []context.Context{testContext(t), ctx, testContext(t), testContext(t)} {
		w, err := c.Watch(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		watchers, o.Until = append(watchers, w), nil
	}
	for i := range 3 {
		tell(c, "other", "b", fmt.Sprint(i+1)) // 2, 4, 6
		tell(c, "default", "a", fmt.Sprint(i+1))
	}
	want := []string{"end@1", "A a=1@3", "M a=2@5", "M a=3@7"}
	for _, w := range watchers {
		var got []string
		for len(got) < len(want) {
			got = append(got, next(t, w)...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	mine, late := context.WithCancel(context.Background())
	for i, end := range []func(){func() { close(until) }, cancel, watchers[2].Stop, late} {
		time.AfterFunc(time.Millisecond, end)
		if batch, err := watchers[i].Next(mine); len(batch) != 0 || err != mine.Err() {
			t.Errorf("after the end %d: %v, %v", i, batch, err)
		}
	}
}

// TestBookmarks come about every minute, and speak of other kinds' changes, too.
func TestBookmarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := offline()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w, err := c.Watch(ctx, WatchOptions{Revision: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		s.clock.advance(5)
		for range 3 {
			begin := time.Now()
			batch, err := w.Next(ctx)
			if err != nil || len(batch) != 1 || text(batch[0]) != "mark@5" {
				t.Errorf("%v, %v", batch, err)
			}
			if waited := time.Since(begin); waited < 40*time.Second || waited > 80*time.Second {
				t.Errorf("a bookmark after %s", waited)
			}
		}
	})
}

// TestSlowWatcher: who falls behind the history is ended; the others are not.
func TestSlowWatcher(t *testing.T) {
	_, c := offline()
	ctx := testContext(t)
	slow, err := c.Watch(ctx, WatchOptions{Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := c.Watch(ctx, WatchOptions{Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	const events = historyMax + 3*maxBatch
	seen := 0
	for i := range events {
		tell(c, "default", "a", fmt.Sprint(i+1))
		if i == 0 {
			next(t, slow)
		}
		if i%100 == 0 {
			seen += len(next(t, quick))
		}
	}
	if _, err := slow.Next(ctx); !errors.Is(err, ErrSlow) {
		t.Errorf("the slow one: %v", err)
	}
	for seen < events {
		seen += len(next(t, quick))
	}
	f := c.feed.Load()
	if n := len(f.events) - f.head; n > historyMax {
		t.Errorf("%d events are kept", n)
	}
	if _, err := c.Watch(ctx, WatchOptions{Revision: 2}); !apierrors.IsResourceExpired(err) ||
		!strings.HasPrefix(err.Error(), "too old resource version: 2 (") {
		t.Errorf("resuming before the history: %v", err)
	}
	slow.Stop()
	quick.Stop()
}

// TestHistoryAges: beyond a minimum, old events are forgotten.
func TestHistoryAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := offline()
		for range historyMin * 3 {
			tell(c, "default", "a", "x")
		}
		f := c.feed.Load()
		if n := len(f.events) - f.head; n != historyMin*3 {
			t.Errorf("%d recent events are kept", n)
		}
		time.Sleep(2 * historyAge)
		tell(c, "default", "a", "x")
		if n := len(f.events) - f.head; n != historyMin {
			t.Errorf("%d old events are kept", n)
		}
		if state, err := c.at(t.Context(), c.store.clock.now()-10); err != nil || state == nil || state.Len() != 1 {
			t.Errorf("the state of a while ago: %v, %v", state, err)
		}
	})
}

// TestCompactedWatch: the store's own watch meets a compaction it cannot bridge, and
// says so to its watchers.
func TestCompactedWatch(t *testing.T) {
	s, m := startStore(t)
	c := s.Collection(configMaps)
	ctx := testContext(t)
	put(t, c, "default", "a", "1")
	w, err := c.Watch(ctx, WatchOptions{Initial: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	next(t, w)

	// A second store whose clock stands still while etcd moves on and compacts.
	behind := New(m.Client(), "/registry/", []*api.Kind{configMaps}, quiet)
	revision, err := behind.load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	close(behind.ready)
	close(behind.recalled)
	bc := behind.Collection(configMaps)
	bw, err := bc.Watch(ctx, WatchOptions{Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	defer bw.Stop()
	put(t, c, "default", "a", "2")
	last := put(t, c, "default", "a", "3")
	if _, err := m.Client().Compact(ctx, last.Revision); err != nil {
		t.Fatal(err)
	}
	last = put(t, c, "default", "b", "1")
	if err := behind.follow(ctx); err == nil {
		t.Fatal("the gap was not noticed")
	}
	if _, err := behind.load(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := bw.Next(ctx); !apierrors.IsResourceExpired(err) {
		t.Errorf("the watcher over the gap: %v", err)
	}
	if _, err := bc.Watch(ctx, WatchOptions{Revision: revision}); !apierrors.IsResourceExpired(err) {
		t.Errorf("resuming before the gap: %v", err)
	}
	l, err := bc.List(ctx, ListOptions{AnyRevision: true})
	if err != nil || len(l.Items) != 2 || l.Revision < last.Revision {
		t.Errorf("after the gap: %v, %v", l, err)
	}
	// The first store was never behind, and its watcher noticed nothing.
	var got []string
	for len(got) < 3 {
		got = append(got, next(t, w)...)
	}
	if !strings.HasPrefix(got[0], "M a=2") || !strings.HasPrefix(got[2], "A b=1") {
		t.Errorf("%v", got)
	}
}

// TestForeignKeys: revisions that only others' keys have don't block consistent reads.
func TestForeignKeys(t *testing.T) {
	m := startEtcd(t, t.TempDir())
	s, _ := run(t, m) // asks etcd for its revision
	ctx := testContext(t)
	put(t, s.Collection(configMaps), "default", "a", "1")
	r, err := m.Client().Put(ctx, "/elsewhere", "x")
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Collection(configMaps).List(ctx, ListOptions{})
	if err != nil || l.Revision < r.Header.Revision {
		t.Errorf("%v, %v; etcd is at %d", l, err, r.Header.Revision)
	}
	if err := s.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
}

// TestUnreadableObject doesn't keep the others from being served.
func TestUnreadableObject(t *testing.T) {
	m := startEtcd(t, t.TempDir())
	ctx := testContext(t)
	for _, key := range []string{"configmaps/default/bad", "configmaps/x", "strangers/default/a", "configmaps"} {
		if _, err := m.Client().Put(ctx, "/registry/"+key, "k8s\x00nonsense"); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := run(t, m, WithRevision(m.Revision()))
	c := s.Collection(configMaps)
	put(t, c, "default", "good", "1")
	if l, err := c.List(ctx, ListOptions{}); err != nil || len(l.Items) != 1 {
		t.Errorf("%v, %v", l, err)
	}
	_, err := c.Write(ctx, "default", "bad", func(*Version) (Write, error) {
		return Write{Object: configMap("default", "bad", "1")}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "decode") {
		t.Errorf("writing over what cannot be read: %v", err)
	}
}
