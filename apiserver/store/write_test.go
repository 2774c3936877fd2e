package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestWriteAndRead(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	ctx := testContext(t)

	made := put(t, c, "default", "a", "1")
	if made.Object.GetResourceVersion() != fmt.Sprint(made.Revision) || made.Revision == 0 {
		t.Errorf("resourceVersion %q of revision %d", made.Object.GetResourceVersion(), made.Revision)
	}
	got, err := c.Get(ctx, "default", "a", false)
	if err != nil {
		t.Fatal(err)
	}
	if got != made {
		t.Errorf("the cache holds another version than the writer got: %v, %v", got, made)
	}
	gone := remove(t, c, "default", "a")
	if gone.Revision <= made.Revision || value(gone) != "1" || gone.Object.GetResourceVersion() != fmt.Sprint(gone.Revision) {
		t.Errorf("deleted: %v", gone)
	}
	if made.Object.GetResourceVersion() != fmt.Sprint(made.Revision) {
		t.Error("the deletion changed the version that was there before")
	}
	if _, err := c.Get(ctx, "default", "a", false); !apierrors.IsNotFound(err) {
		t.Errorf("get of a deleted object: %v", err)
	}
	_, err = c.Write(ctx, "default", "a", func(*Version) (Write, error) { return Write{}, nil })
	if !apierrors.IsNotFound(err) {
		t.Errorf("deletion of a deleted object: %v", err)
	}
}

func TestWriteOfTheSameWritesNothing(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	first := put(t, c, "default", "a", "1")
	second, err := c.Write(testContext(t), "default", "a", func(current *Version) (Write, error) {
		return Write{Object: current.Object}, nil // with its resourceVersion, which doesn't count
	})
	if err != nil || second.Revision != first.Revision {
		t.Errorf("%v, %v; want the version at %d", second, err, first.Revision)
	}
	if third := put(t, c, "default", "a", "2"); third.Revision == first.Revision {
		t.Error("a change was taken for none")
	}
}

// TestStaleState: neither a refusal nor "nothing to do" may rest on an old state.
func TestStaleState(t *testing.T) {
	s, m := startStore(t)
	c := s.Collection(configMaps)
	ctx := testContext(t)
	elsewhere := func(value string) { // another server writes
		data, err := c.codec.encode(configMap("default", "a", value))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Client().Put(ctx, c.path("default/a"), string(data)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		old, recent := fmt.Sprint("old", i), fmt.Sprint("new", i)
		before := put(t, c, "default", "a", old)
		elsewhere(recent)
		// Whatever this server's cache shows by now, this must be decided on the new state.
		if _, err := c.Write(ctx, "default", "a", func(current *Version) (Write, error) {
			if value(current) == old {
				return Write{}, errors.New("refused")
			}
			return Write{Object: configMap("default", "a", "done")}, nil
		}); err != nil {
			t.Errorf("decided on the old state: %v", err)
		}
		before = put(t, c, "default", "a", old)
		elsewhere(recent)
		if after := put(t, c, "default", "a", old); after.Revision == before.Revision {
			t.Error("nothing was written over a newer state")
		}
	}
	// The same, seen for certain from the old state.
	before := put(t, c, "default", "a", "old")
	elsewhere("new")
	tr := &transaction{c: c, key: "default/a", path: c.path("default/a"), current: before}
	if moved, err := tr.look(ctx); err != nil || !moved || value(tr.current) != "new" {
		t.Errorf("%v, %v: %s", moved, err, value(tr.current))
	}
}

func TestConcurrentIncrements(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	put(t, c, "default", "counter", "0")
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				_, err := c.Write(testContext(t), "default", "counter", func(current *Version) (Write, error) {
					if current == nil { // this server has not heard of it yet; Write makes sure and asks again
						return Write{}, errors.New("there is no counter")
					}
					var n int
					if _, err := fmt.Sscan(value(current), &n); err != nil {
						return Write{}, err
					}
					return Write{Object: configMap("default", "counter", fmt.Sprint(n+1))}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	v, err := c.Get(testContext(t), "default", "counter", false)
	if err != nil || value(v) != fmt.Sprint(writers*each) {
		t.Errorf("counter %v, %v; want %d", v, err, writers*each)
	}
}

func TestClaims(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	ctx := testContext(t)
	claim := func(name, version string, claim, release []string) error {
		_, err := c.Write(ctx, "default", name, func(*Version) (Write, error) {
			return Write{Object: configMap("default", name, version), Claim: claim, Release: release}, nil
		})
		return err
	}
	var taken *ErrClaimed
	steps := []struct {
		what string
		err  error
		want string // the name that is taken
	}{
		{"first", claim("a", "1", []string{"ip/1", "ip/2"}, nil), ""},
		{"second", claim("b", "1", []string{"ip/3", "ip/2"}, nil), "ip/2"},
		{"the refused write took nothing", claim("c", "1", []string{"ip/3"}, nil), ""},
		{"own name again", claim("a", "2", []string{"ip/2", "ip/2", "ip/4"}, nil), ""},
		{"giving back what somebody else has", claim("c", "2", nil, []string{"ip/1"}), ""},
		{"changes nothing", claim("b", "1", []string{"ip/1"}, nil), "ip/1"},
		{"giving back", claim("a", "3", nil, []string{"ip/1"}), ""},
		{"makes it free", claim("b", "1", []string{"ip/1"}, nil), ""},
	}
	for _, step := range steps {
		name := ""
		if errors.As(step.err, &taken) {
			name = taken.Name
		} else if step.err != nil {
			t.Errorf("%s: %v", step.what, step.err)
		}
		if name != step.want {
			t.Errorf("%s: %q is taken, want %q", step.what, name, step.want)
		}
	}
	remove(t, c, "default", "a") // had ip/2 and ip/4
	if err := claim("d", "1", []string{"ip/2", "ip/4"}, nil); err != nil {
		t.Errorf("names of a deleted object are not free: %v", err)
	}
	if err := s.current(ctx); err != nil {
		t.Fatal(err)
	}
	if got := s.Claims("ip/"); len(got) != 4 {
		t.Errorf("claimed: %v", got)
	}
	if c.Len() != 3 {
		t.Errorf("%d objects", c.Len())
	}
}

// TestClaimsUnderConcurrency: more who want names than names.
func TestClaimsUnderConcurrency(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	const names, wanters = 10, 30
	var mu sync.Mutex
	holder := map[string]string{}
	var wg sync.WaitGroup
	for w := range wanters {
		wg.Go(func() {
			me := fmt.Sprintf("w%d", w)
			for n := range names {
				name := fmt.Sprintf("ip/%d", (w+n)%names)
				_, err := c.Write(testContext(t), "default", me, func(*Version) (Write, error) {
					return Write{Object: configMap("default", me, name), Claim: []string{name}}, nil
				})
				var taken *ErrClaimed
				if errors.As(err, &taken) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other := holder[name]; other != "" {
					t.Errorf("%s and %s both have %s", me, other, name)
				}
				holder[name] = me
				mu.Unlock()
				if w%3 != 0 {
					return
				}
				mu.Lock() // before it is free
				delete(holder, name)
				mu.Unlock()
				if _, err := c.Write(testContext(t), "default", me, func(*Version) (Write, error) { return Write{}, nil }); err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	if err := s.current(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if len(s.Claims("")) != len(holder) {
		t.Errorf("%d names are claimed, %d held", len(s.Claims("")), len(holder))
	}
}

func TestExpiry(t *testing.T) {
	s, _ := startStore(t)
	c := s.Collection(configMaps)
	ctx := testContext(t)
	w, err := c.Watch(ctx, WatchOptions{Revision: s.Revision()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, name := range []string{"a", "b"} {
		if _, err := c.Write(ctx, "default", name, func(*Version) (Write, error) {
			return Write{Object: configMap("default", name, "1"), TTL: time.Second}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	left, err := s.client.Leases(ctx)
	if err != nil || len(left.Leases) != 1 {
		t.Errorf("%v leases, %v; want one for both", left, err)
	}
	for deleted := 0; deleted < 2; {
		batch, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range batch {
			if n.Type == "DELETED" {
				deleted++
			}
		}
	}
}

// TestStoredForm: what is in etcd is what upstream would have put there.
func TestStoredForm(t *testing.T) {
	s, m := startStore(t)
	ctx := testContext(t)
	put(t, s.Collection(configMaps), "default", "a", "1")
	if _, err := s.Collection(nodes).Write(ctx, "", "n1", func(*Version) (Write, error) {
		n := &corev1.Node{}
		n.Name = "n1"
		return Write{Object: n}, nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"/registry/configmaps/default/a", "/registry/nodes/n1"} {
		r, err := m.Client().Get(ctx, key)
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("%s: %v, %v", key, r, err)
		}
		obj, _, err := upstreamProtobuf.Decode(r.Kvs[0].Value, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if rv := obj.(interface{ GetResourceVersion() string }).GetResourceVersion(); rv != "" {
			t.Errorf("%s is stored with resourceVersion %s", key, rv)
		}
	}
}
