package etcd

import (
	"context"
	"log/slog"
	"testing"
)

var quiet = slog.New(slog.DiscardHandler)

// start gives a member on dir that ends with the test.
func start(t testing.TB, dir string) *Member {
	t.Helper()
	m, err := Start(t.Context(), Config{DataDir: dir}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func put(t testing.TB, m *Member, key, value string) {
	t.Helper()
	if _, err := m.Client().Put(context.Background(), key, value); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkStart is the time from nothing to the first acknowledged write.
func BenchmarkStart(b *testing.B) {
	for _, fresh := range []bool{true, false} {
		name := map[bool]string{true: "new", false: "restart"}[fresh]
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			if !fresh {
				start(b, dir).Close()
			}
			for b.Loop() {
				if fresh {
					b.StopTimer()
					dir = b.TempDir()
					b.StartTimer()
				}
				m := start(b, dir)
				put(b, m, "a", "b")
				b.StopTimer()
				m.Close()
				b.StartTimer()
			}
		})
	}
}
