package loop

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

var quiet = slog.New(slog.DiscardHandler)

// run runs a loop inside a synctest bubble and returns what ends it.
func run[K comparable](t *testing.T, l *Loop[K]) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRetries(t *testing.T) {
	terminating := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "p", errors.New("terminating"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for _, row := range []struct {
		name  string
		err   error
		calls int64 // in a minute
	}{
		{"success", nil, 1},
		{"409", apierrors.NewConflict(schema.GroupResource{}, "p", errors.New("newer")), 14},
		{"stale cache", ErrStale, 14},
		{"any other error", errors.New("no"), 14},
		{"the namespace is going away", terminating, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				l := New("test", Env{Log: quiet}, func(context.Context, string) error { calls.Add(1); return row.err })
				stop := run(t, l)
				l.Add("x")
				time.Sleep(time.Minute)
				stop()
				if n := calls.Load(); n != row.calls {
					t.Errorf("%d calls in a minute, want %d", n, row.calls)
				}
			})
		})
	}
}

// TestOneAtATime: a name that is worked on waits, other names do not.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		working, calls := map[string]int{}, map[string]int{}
		atOnce := 0
		l := New("test", Env{Log: quiet, Workers: 2}, func(_ context.Context, key string) error {
			mu.Lock()
			working[key]++
			calls[key]++
			if working[key] > 1 {
				t.Errorf("%s is worked on twice", key)
			}
			atOnce = max(atOnce, working["a"]+working["b"])
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			working[key]--
			mu.Unlock()
			return nil
		})
		stop := run(t, l)
		for range 10 {
			l.Add("a")
			l.Add("b")
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		stop()
		if atOnce != 2 || calls["a"] != 2 || calls["b"] != 2 {
			t.Errorf("%d at once, calls %v; want 2 at once, and 10 additions in 2 calls each", atOnce, calls)
		}
	})
}

func TestHandler(t *testing.T) {
	pod := func(uid string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: types.UID(uid)}}
	}
	var got []string
	h := handler(func(old, cur *corev1.Pod) {
		name := func(p *corev1.Pod) string {
			if p == nil {
				return "-"
			}
			return string(p.UID)
		}
		got = append(got, name(old)+">"+name(cur))
	})
	h.OnAdd(pod("1"), false)
	h.OnUpdate(pod("1"), pod("1"))
	h.OnUpdate(pod("1"), pod("2"))
	h.OnDelete(pod("2"))
	h.OnDelete(cache.DeletedFinalStateUnknown{Key: "p", Obj: pod("3")})
	h.OnDelete(cache.DeletedFinalStateUnknown{Key: "p"})
	if want := []string{"->1", "1>1", "1>-", "->2", "2>-", "3>-"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExpectations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner := Name{Namespace: "default", Name: "web"}
		e := NewExpectations()
		step := func(what string, want bool) {
			t.Helper()
			if got := e.Satisfied(owner); got != want {
				t.Errorf("%s: satisfied is %v", what, got)
			}
		}
		step("nothing expected", true)
		e.Expect(owner, 2)
		e.Created(owner, 1)
		step("one of two created", false)
		e.Created(owner, 1)
		step("both created", true)
		e.Expect(owner, 0, "a", "b")
		e.Deleted(owner, "a")
		e.Deleted(owner, "a") // an update and then the deletion itself
		step("one of two deleted, told twice", false)
		e.Deleted(owner, "b")
		step("both deleted", true)
		e.Expect(owner, 1)
		time.Sleep(expectationsTimeout + time.Second)
		step("never seen", true)
		e.Expect(owner, 1)
		e.Forget(owner)
		step("forgotten", true)
	})
}

func TestSlowStart(t *testing.T) {
	for _, row := range []struct{ n, failAfter, wantCalls, wantMade int }{
		{0, 100, 0, 0}, {1, 100, 1, 1}, {10, 100, 10, 10}, {500, 0, 1, 0}, {500, 3, 7, 3},
	} {
		var calls atomic.Int64
		made, err := SlowStart(row.n, func() error {
			if calls.Add(1) > int64(row.failAfter) {
				return errors.New("quota")
			}
			return nil
		})
		if int(calls.Load()) != row.wantCalls || made != row.wantMade || (err != nil) != (row.wantMade < row.n) {
			t.Errorf("%+v: %d calls, %d made, %v", row, calls.Load(), made, err)
		}
	}
}

// TestEvents: what is recorded is written, and nothing is written after the end.
func TestEvents(t *testing.T) {
	client := fake.NewClientset()
	events := StartEvents(t.Context(), client)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "1"}}
	events.Recorder("tester").Eventf(pod, corev1.EventTypeNormal, "Tested", "It %s", "works")
	for {
		list, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 1 {
			if e := list.Items[0]; e.Source.Component != "tester" || e.Reason != "Tested" || e.Message != "It works" || e.InvolvedObject.Kind != "Pod" {
				t.Errorf("event %+v", e)
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	events.Close()
	written := len(client.Actions())
	if _, err := events.sink.Create(&corev1.Event{}); err != nil {
		t.Error(err)
	}
	if n := len(client.Actions()); n != written {
		t.Error("written after Close")
	}
}
