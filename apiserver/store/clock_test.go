package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
)

// TestSharedQuestion: who asks while a question is under way waits for the next one,
// and all who do so share it.
func TestSharedQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := int64(0)
		q := &question{ask: func(context.Context) (int64, error) {
			asked++
			n := asked // what etcd shows when the question reaches it
			time.Sleep(time.Second)
			return n, nil
		}}
		var mu sync.Mutex
		answers := map[int64]int{}
		var readers sync.WaitGroup
		ask := func() {
			n, err := q.answer(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			answers[n]++
			mu.Unlock()
		}
		readers.Go(ask)
		synctest.Wait() // the first question is under way
		for range 10 {
			readers.Go(ask)
		}
		readers.Wait()
		if answers[1] != 1 || answers[2] != 10 || asked != 2 {
			t.Errorf("%v after %d questions", answers, asked)
		}
	})
}

func TestQuestionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		q := &question{ask: func(ctx context.Context) (int64, error) {
			<-ctx.Done()
			return 0, broken
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.answer(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an impatient reader: %v", err)
		}
		begin := time.Now()
		if _, err := q.answer(t.Context()); !errors.Is(err, broken) || time.Since(begin) > 2*askTimeout {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		nudges := 0
		nudge := func(context.Context) { nudges++ }
		c.advance(5)
		if err := c.wait(t.Context(), 5, nudge); err != nil || nudges != 0 {
			t.Errorf("the present: %v, %d nudges", err, nudges)
		}
		go func() {
			time.Sleep(time.Second)
			c.advance(7)
			c.advance(6) // never back
		}()
		if err := c.wait(t.Context(), 7, nudge); err != nil || nudges == 0 || c.now() != 7 {
			t.Errorf("%v, %d nudges, at %d", err, nudges, c.now())
		}
		if err := c.wait(t.Context(), 8, nudge); !apierrors.HasStatusCause(err, "ResourceVersionTooLarge") {
			t.Errorf("the future: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.wait(ctx, 8, nudge); !errors.Is(err, context.Canceled) {
			t.Errorf("a reader that has gone: %v", err)
		}
		if len(c.waiters) != 0 {
			t.Errorf("%d still wait", len(c.waiters))
		}
	})
}

// TestPending plays the orders in which a writer's answer and the watch can come.
func TestPending(t *testing.T) {
	value := []byte("value")
	add := func(p *pending) *pendingWrite { return p.add("a", value, configMap("default", "a", "1")) }
	tests := []struct {
		what string
		play func(p *pending) (writer, watch *Version)
	}{
		{"the writer first", func(p *pending) (*Version, *Version) {
			w := add(p)
			v := p.done("a", w, 7)
			return v, p.take("a", value, 7)
		}},
		{"the watch first", func(p *pending) (*Version, *Version) {
			w := add(p)
			told := p.take("a", value, 7)
			return p.done("a", w, 7), told
		}},
		{"somebody else wrote before", func(p *pending) (*Version, *Version) {
			w := add(p)
			if v := p.take("a", []byte("other"), 6); v != nil {
				t.Errorf("another's write was taken for ours: %v", v)
			}
			v := p.done("a", w, 7)
			return v, p.take("a", value, 7)
		}},
		{"two of the same, the loser asked first", func(p *pending) (*Version, *Version) {
			loser, winner := add(p), add(p)
			told := p.take("a", value, 7)
			v := p.done("a", winner, 7)
			p.drop("a", loser)
			return v, told
		}},
		{"two of the same, the loser asked last", func(p *pending) (*Version, *Version) {
			winner, loser := add(p), add(p)
			told := p.take("a", value, 7)
			v := p.done("a", winner, 7)
			p.drop("a", loser)
			return v, told
		}},
	}
	for _, test := range tests {
		p := &pending{}
		writer, told := test.play(p)
		if writer == nil || writer != told || writer.Revision != 7 || writer.Object.GetResourceVersion() != "7" {
			t.Errorf("%s: the writer has %v, the watch %v", test.what, writer, told)
		}
		if len(p.writes) != 0 {
			t.Errorf("%s: %v is left over", test.what, p.writes)
		}
	}
	p := &pending{}
	old := newVersion(configMap("default", "a", "0"), 3)
	w := add(p)
	if p.newer("a", old) != old {
		t.Error("a write under way counts already")
	}
	if v := p.done("a", w, 7); p.newer("a", old) != v || p.newer("a", nil) != v {
		t.Error("a write that is done doesn't count yet")
	}
}

// TestEncodedOnce: an encoding is made once, however many ask.
func TestEncodedOnce(t *testing.T) {
	v := newVersion(configMap("default", "a", "1"), 1)
	made := make(chan string, 100)
	var readers sync.WaitGroup
	for i := range 50 {
		readers.Go(func() {
			key := []string{"json", "protobuf"}[i%2]
			got, err := v.Encoded(key, func(api.Object) ([]byte, error) {
				made <- key
				return []byte(key), nil
			})
			if err != nil || string(got) != key {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	readers.Wait()
	if len(made) != 2 {
		t.Errorf("%d encodings were made", len(made))
	}
}

// TestRecallIsSeamless: what is prepended joins what is there already.
func TestRecallIsSeamless(t *testing.T) {
	_, c := offline()
	f := newFeed(10)
	c.feed.Store(f)
	event := func(r int64) Event {
		return Event{Type: watch.Added, Version: newVersion(configMap("default", "a", "x"), r), key: "default/a"}
	}
	early, err := c.Watch(testContext(t), WatchOptions{Revision: 11})
	if err != nil {
		t.Fatal(err)
	}
	f.append([]Event{event(12)}, time.Now())
	f.prepend([]Event{event(7), event(9)}, 5, time.Now())
	late, err := c.Watch(testContext(t), WatchOptions{Revision: 8})
	if err != nil {
		t.Fatal(err)
	}
	if got := next(t, early); len(got) != 1 || got[0] != "A a=x@12" {
		t.Errorf("who was there before: %v", got)
	}
	if got := next(t, late); len(got) != 2 || got[0] != "A a=x@9" || got[1] != "A a=x@12" {
		t.Errorf("who comes back: %v", got)
	}
	early.Stop()
	late.Stop()
}
