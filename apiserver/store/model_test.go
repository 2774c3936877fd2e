package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
)

// journal is the model: what writers were told, by revision.
type journal struct {
	mu      sync.Mutex
	entries map[int64]entry
}

type entry struct {
	key, value string
	deleted    bool
}

func (j *journal) note(revision int64, e entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if other, ok := j.entries[revision]; ok {
		return fmt.Errorf("revision %d is %v and %v", revision, other, e)
	}
	j.entries[revision] = e
	return nil
}

// state replays the journal up to a revision.
func (j *journal) state(revision int64) map[string]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	state := map[string]string{}
	for _, r := range j.revisions(revision) {
		if e := j.entries[r]; e.deleted {
			delete(state, e.key)
		} else {
			state[e.key] = e.value
		}
	}
	return state
}

func (j *journal) revisions(until int64) []int64 {
	var all []int64
	for r := range j.entries {
		if r <= until {
			all = append(all, r)
		}
	}
	slices.Sort(all)
	return all
}

// TestModel lets writers, watchers and listers loose on the store and then compares
// everything that anybody saw with what was written.
func TestModel(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	j := &journal{entries: map[int64]entry{}}
	begin := s.Revision()

	var writers, readers sync.WaitGroup
	var seenMu sync.Mutex
	var streams []stream
	var lists []listed
	for n := range 4 {
		writers.Go(func() { writeAtRandom(t, c, j, rand.New(rand.NewPCG(1, uint64(n)))) })
	}
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				got := watchAWhile(t, ctx, c, begin)
				seenMu.Lock()
				streams = append(streams, got)
				seenMu.Unlock()
			}
		})
	}
	for n := range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				got, err := listAll(ctx, c, int64(1+n*6))
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("list: %v", err)
					}
					return
				}
				seenMu.Lock()
				lists = append(lists, got)
				seenMu.Unlock()
			}
		})
	}
	writers.Wait()
	if err := s.current(testContext(t)); err != nil {
		t.Fatal(err)
	}
	streams = append(streams, watchUntil(t, testContext(t), c, begin, s.Revision()))
	cancel()
	readers.Wait()
	t.Logf("%d writes, %d watches, %d lists", len(j.entries), len(streams), len(lists))
	for _, got := range streams {
		got.check(t, j)
	}
	for _, got := range lists {
		got.check(t, j)
	}
}

func writeAtRandom(t *testing.T, c *Collection, j *journal, r *rand.Rand) {
	for range 150 {
		name := fmt.Sprintf("o%02d", r.IntN(20))
		fresh := fmt.Sprint(r.Uint64())
		del := r.IntN(3) == 0
		v, err := c.Write(testContext(t), "default", name, func(current *Version) (Write, error) {
			if del && current != nil {
				return Write{}, nil
			}
			return Write{Object: configMap("default", name, fresh)}, nil
		})
		if err != nil {
			t.Errorf("write: %v", err)
			return
		}
		deleted := value(v) != fresh // a deletion returns what was there
		if err := j.note(v.Revision, entry{"default/" + name, fresh, deleted}); err != nil {
			t.Error(err)
		}
	}
}

// stream is what a watcher saw: from is where it began, to how far it surely is.
type stream struct {
	from, to int64
	events   []Notice
}

// watchAWhile resumes from a random revision and reads a few events.
func watchAWhile(t *testing.T, ctx context.Context, c *Collection, begin int64) stream {
	got := stream{from: begin + rand.Int64N(c.store.Revision()-begin+1)}
	w, err := c.Watch(ctx, WatchOptions{Revision: got.from})
	if err != nil {
		if ctx.Err() == nil {
			t.Errorf("watch from %d: %v", got.from, err)
		}
		return got
	}
	defer w.Stop()
	got.to = got.from
	for len(got.events) < 100 {
		batch, err := w.Next(ctx)
		if err != nil || len(batch) == 0 {
			if err != nil && ctx.Err() == nil {
				t.Errorf("watch from %d: %v", got.from, err)
			}
			return got
		}
		got.events = append(got.events, batch...)
		got.to = batch[len(batch)-1].Version.Revision
	}
	return got
}

// watchUntil reads from begin to a revision.
func watchUntil(t *testing.T, ctx context.Context, c *Collection, begin, end int64) stream {
	got := stream{from: begin, to: end}
	w, err := c.Watch(ctx, WatchOptions{Revision: begin})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for {
		batch, err := w.Next(ctx)
		if len(batch) == 0 {
			t.Fatalf("the watch ended early: %v", err)
		}
		for _, n := range batch {
			got.events = append(got.events, n)
			if n.Version.Revision == end {
				return got
			}
		}
	}
}

// check: exactly the journal's entries after from, up to to, in order.
func (s stream) check(t *testing.T, j *journal) {
	t.Helper()
	state := j.state(s.from)
	var want []int64
	for _, r := range j.revisions(s.to) {
		if r > s.from {
			want = append(want, r)
		}
	}
	if len(s.events) != len(want) {
		t.Fatalf("watch after %d up to %d: %d events, want %d", s.from, s.to, len(s.events), len(want))
	}
	for i, n := range s.events {
		e := j.entries[want[i]]
		if n.Version.Revision != want[i] {
			t.Fatalf("event %d after %d is of revision %d, want %d", i, s.from, n.Version.Revision, want[i])
		}
		before, existed := state[e.key]
		switch n.Type {
		case watch.Added:
			if existed || e.deleted {
				t.Errorf("%d: ADDED %s, which is %v", want[i], e.key, e)
			}
		case watch.Modified:
			if !existed || e.deleted || value(n.Previous) != before {
				t.Errorf("%d: MODIFIED %s from %v, which was %q", want[i], e.key, n.Previous, before)
			}
		case watch.Deleted:
			if !existed || !e.deleted || value(n.Version) != before {
				t.Errorf("%d: DELETED %s, which is %v", want[i], e.key, e)
			}
		}
		if e.deleted {
			delete(state, e.key)
		} else {
			state[e.key] = e.value
			if value(n.Version) != e.value {
				t.Errorf("%d: %s is %q, want %q", want[i], e.key, value(n.Version), e.value)
			}
		}
	}
}

// listed is what a list returned, all pages together.
type listed struct {
	revision int64
	items    []*Version
	pages    int
}

func listAll(ctx context.Context, c *Collection, limit int64) (listed, error) {
	var got listed
	o := ListOptions{Limit: limit}
	for {
		l, err := c.List(ctx, o)
		if err != nil {
			return got, err
		}
		got.items = append(got.items, l.Items...)
		got.pages++
		if got.pages > 1 && l.Revision != got.revision {
			return got, fmt.Errorf("page %d is of revision %d, the first of %d", got.pages, l.Revision, got.revision)
		}
		got.revision = l.Revision
		if l.Continue == "" {
			if l.Remaining != nil {
				return got, fmt.Errorf("%d remain after the last page", *l.Remaining)
			}
			return got, nil
		}
		o.Continue = l.Continue
	}
}

func (l listed) check(t *testing.T, j *journal) {
	t.Helper()
	want := j.state(l.revision)
	if len(l.items) != len(want) {
		t.Errorf("list at %d has %d objects, want %d", l.revision, len(l.items), len(want))
	}
	for i, v := range l.items {
		key := v.Object.GetNamespace() + "/" + v.Object.GetName()
		if want[key] != value(v) {
			t.Errorf("list at %d: %s is %q, want %q", l.revision, key, value(v), want[key])
		}
		if i > 0 && l.items[i-1].Object.GetName() >= v.Object.GetName() {
			t.Errorf("list at %d is out of order at %s", l.revision, key)
		}
	}
}

// TestPagesStayConsistent: later pages show the state of the first, also when memory
// no longer reaches back to it, and honest numbers of what remains.
func TestPagesStayConsistent(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		t.Run(map[bool]string{false: "from memory", true: "from etcd"}[forgotten], func(t *testing.T) {
			s, _ := startStore(t)
			c := s.Collection(configMaps)
			ctx := testContext(t)
			for i := range 10 {
				put(t, c, "default", fmt.Sprintf("o%d", i), "old")
				put(t, c, "other", fmt.Sprintf("o%d", i), "old")
			}
			first, err := c.List(ctx, ListOptions{Namespace: "default", Limit: 3})
			if err != nil || first.Remaining == nil || *first.Remaining != 7 {
				t.Fatalf("%v, %v", first, err)
			}
			if all, err := c.List(ctx, ListOptions{Limit: 3}); err != nil || all.Remaining == nil || *all.Remaining != 17 {
				t.Fatalf("of all namespaces: %v, %v", all, err)
			}
			for i := range 10 {
				put(t, c, "default", fmt.Sprintf("o%d", i), "new")
			}
			remove(t, c, "default", "o5")
			put(t, c, "default", "o55", "new")
			if forgotten {
				if err := s.current(ctx); err != nil {
					t.Fatal(err)
				}
				c.feed.Swap(newFeed(s.Revision())).close(errStopped)
			}
			items := first.Items
			for l := first; l.Continue != ""; {
				if l, err = c.List(ctx, ListOptions{Namespace: "default", Limit: 3, Continue: l.Continue}); err != nil {
					t.Fatal(err)
				}
				items = append(items, l.Items...)
				if left := 10 - len(items); left > 0 && (l.Remaining == nil || *l.Remaining != int64(left)) {
					t.Errorf("after %d objects %v remain", len(items), l.Remaining)
				}
			}
			if len(items) != 10 {
				t.Errorf("%d objects", len(items))
			}
			for i, v := range items {
				if v.Object.GetName() != fmt.Sprintf("o%d", i) || value(v) != "old" {
					t.Errorf("object %d is %s=%s", i, v.Object.GetName(), value(v))
				}
			}
		})
	}
}

func TestListOptions(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	ctx := testContext(t)
	old := put(t, c, "default", "a", "1")
	put(t, c, "default", "a", "2")
	last := put(t, c, "other", "b", "3")
	if err := s.current(ctx); err != nil {
		t.Fatal(err)
	}
	isThree := func(o api.Object) bool { return o.GetName() == "b" }
	tests := []struct {
		what string
		o    ListOptions
		want []string
	}{
		{"all", ListOptions{}, []string{"default/a=2", "other/b=3"}},
		{"cached", ListOptions{AnyRevision: true}, []string{"default/a=2", "other/b=3"}},
		{"at least", ListOptions{Revision: old.Revision}, []string{"default/a=2", "other/b=3"}},
		{"exactly", ListOptions{Revision: old.Revision, Exact: true}, []string{"default/a=1"}},
		{"namespace", ListOptions{Namespace: "other"}, []string{"other/b=3"}},
		{"part of a namespace's name", ListOptions{Namespace: "def"}, nil},
		{"selected", ListOptions{Match: isThree}, []string{"other/b=3"}},
		{"selected, limited", ListOptions{Match: isThree, Limit: 1}, []string{"other/b=3"}},
	}
	for _, test := range tests {
		l, err := c.List(ctx, test.o)
		if err != nil || !slices.Equal(contents(l), test.want) {
			t.Errorf("%s: %v, %v; want %v", test.what, l, err, test.want)
		}
		if err == nil && !test.o.Exact && l.Revision < last.Revision {
			t.Errorf("%s: revision %d is older than %d", test.what, l.Revision, last.Revision)
		}
	}
	_, err := c.List(ctx, ListOptions{Continue: "nonsense"})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("a bad token: %v", err)
	}
}

// TestFutureRevision is a timeout that says so, after upstream's three seconds.
func TestFutureRevision(t *testing.T) {
	s, _ := startStore(t)
	_, err := s.Collection(configMaps).List(testContext(t), ListOptions{Revision: s.Revision() + 100})
	if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, "ResourceVersionTooLarge") {
		t.Errorf("%v", err)
	}
}

// TestCompactedPages: 410, with a token for the rest as it is now.
func TestCompactedPages(t *testing.T) {
	s, m := startStore(t)
	c := s.Collection(configMaps)
	ctx := testContext(t)
	for i := range 4 {
		put(t, c, "default", fmt.Sprintf("o%d", i), "old")
	}
	first, err := c.List(ctx, ListOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	last := put(t, c, "default", "o3", "new")
	if err := s.WaitFor(ctx, last.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Compact(ctx, last.Revision); err != nil {
		t.Fatal(err)
	}
	c.feed.Swap(newFeed(last.Revision)).close(errStopped)

	_, err = c.List(ctx, ListOptions{Limit: 2, Continue: first.Continue})
	if !apierrors.IsResourceExpired(err) {
		t.Fatalf("%v", err)
	}
	token := err.(apierrors.APIStatus).Status().Continue
	rest, err := c.List(ctx, ListOptions{Limit: 2, Continue: token})
	if err != nil || !slices.Equal(contents(rest), []string{"default/o2=old", "default/o3=new"}) {
		t.Errorf("%v, %v", rest, err)
	}
	_, err = c.List(ctx, ListOptions{Revision: first.Revision, Exact: true})
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("exact: %v", err)
	}
}
