package loop

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnhurried adds two names a hundred times a second: one takes 100 ms, the other none.
func TestUnhurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow, fast atomic.Int64
		l := New("test", Env{Log: quiet, Workers: 2}, func(_ context.Context, key string) error {
			if key == "fast" {
				fast.Add(1)
				return nil
			}
			slow.Add(1)
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		l.Unhurried()
		stop := run(t, l)
		for range 1000 { // 10 s
			l.Add("slow")
			l.Add("fast")
			time.Sleep(10 * time.Millisecond)
		}
		if n := slow.Load(); n < 24 || n > 26 { // a turn may begin at the very end
			t.Errorf("what takes 100 ms and rests for 300 had %d turns in 10 s", n)
		}
		if n := fast.Load(); n != 1000 {
			t.Errorf("what is quick had %d turns of 1000", n)
		}
		// The last change is not lost.
		before := slow.Load()
		l.Add("slow")
		time.Sleep(time.Second)
		if n := slow.Load(); n <= before {
			t.Error("a change during the rest was forgotten")
		}
		stop()
	})
}
