package etcd

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"orrery.example.org/host"
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

func get(t testing.TB, m *Member, key string) string {
	t.Helper()
	r, err := m.Client().Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

// TestRestarts: what was written is there after any number of restarts, with a short
// log and with one that is longer than what etcd keeps in memory.
func TestRestarts(t *testing.T) {
	dir := t.TempDir()
	for round, writes := range []int{1, 150, 3000, 1} {
		m := start(t, dir)
		if round > 0 {
			if got := get(t, m, "round"); got != strconv.Itoa(round-1) {
				t.Errorf("round %d begins with %q", round, got)
			}
		}
		if revision, err := m.Revision()(t.Context()); err != nil || revision < 1 {
			t.Errorf("revision %d, %v", revision, err)
		}
		for range writes {
			put(t, m, "round", strconv.Itoa(round))
		}
		m.Close()
		if m.Err() != nil {
			t.Errorf("round %d: %v", round, m.Err())
		}
	}
}

// TestBadDataDir: whatever is wrong with the directory, there is a sentence that says
// what and what to do, and neither a panic nor a wait.
func TestBadDataDir(t *testing.T) {
	tests := []struct {
		what   string
		damage func(t *testing.T, dir string)
		want   []string
	}{
		{"another version", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, formatFile), `{"version":7,"complete":true}`)
		}, []string{"format 7", "format 1", "move it away"}},
		{"a damaged format", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, formatFile), "{")
		}, []string{formatFile, "damaged", "restore"}},
		{"somebody else's etcd", func(t *testing.T, dir string) {
			removeAll(t, filepath.Join(dir, formatFile))
		}, []string{"did not make", "choose another"}},
		{"no log", func(t *testing.T, dir string) {
			removeAll(t, filepath.Join(dir, memberDir, "wal"))
		}, []string{"incomplete", "wal", "restore"}},
		{"no database", func(t *testing.T, dir string) {
			removeAll(t, filepath.Join(dir, memberDir, "snap", "db"))
		}, []string{"incomplete", "db", "restore"}},
		{"an empty log directory", func(t *testing.T, dir string) {
			eachFile(t, filepath.Join(dir, memberDir, "wal"), func(path string) { removeAll(t, path) })
		}, []string{"incomplete", "wal", "restore"}},
		{"a log of zeros", func(t *testing.T, dir string) {
			eachFile(t, filepath.Join(dir, memberDir, "wal"), func(path string) {
				write(t, path, strings.Repeat("\x00", 4096))
			})
		}, []string{"start etcd on", "restore"}},
		{"a log of noise", func(t *testing.T, dir string) {
			eachFile(t, filepath.Join(dir, memberDir, "wal"), func(path string) {
				write(t, path, strings.Repeat("noise", 1000))
			})
		}, []string{"start etcd on", "restore"}},
		{"a database of noise", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, memberDir, "snap", "db"), strings.Repeat("noise", 10000))
		}, []string{"damaged", "restore"}},
		{"a truncated database", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, memberDir, "snap", "db"), 8192); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged", "8192 bytes of", "restore"}},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			dir := t.TempDir()
			m := start(t, dir)
			for i := range 200 {
				put(t, m, "key"+strconv.Itoa(i), strings.Repeat("x", 1000))
			}
			m.Close()
			test.damage(t, dir)
			m, err := Start(t.Context(), Config{DataDir: dir}, quiet)
			if err == nil {
				m.Close()
				t.Fatal("it started")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: does not say %q", err, want)
				}
			}
			t.Log(err)
		})
	}
}

// TestInterruptedFirstStart: nothing was acknowledged yet, so what is there can go.
func TestInterruptedFirstStart(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, formatFile), `{"version":1,"complete":false}`)
	if err := os.MkdirAll(filepath.Join(dir, memberDir, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, memberDir, "wal", "0.tmp"), "half")
	m := start(t, dir)
	put(t, m, "a", "b")
	m.Close()
	if got := get(t, start(t, dir), "a"); got != "b" {
		t.Errorf("%q", got)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	_, err := Start(t.Context(), Config{DataDir: dir}, quiet)
	if err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("%v", err)
	}
}

// TestLogOutlivesClose: a lock on the log that goes away in a moment is waited for, one
// that stays is an error that says so.
func TestLogOutlivesClose(t *testing.T) {
	dir := t.TempDir()
	start(t, dir).Close()
	logs, err := filepath.Glob(filepath.Join(dir, memberDir, "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	held, err := fileutil.TryLockFile(logs[0], os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{DataDir: dir}, quiet)
	if err == nil || !strings.Contains(err.Error(), "is locked by another process") {
		t.Errorf("while it is locked: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { _ = held.Close() })
	start(t, dir).Close()
}

// TestStartBetweenForks: other parts of the process start programs all the time.
func TestStartBetweenForks(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var forks sync.WaitGroup
	defer forks.Wait()
	defer cancel()
	for range 2 {
		forks.Go(func() {
			for ctx.Err() == nil {
				cmd := (*host.Host)(nil).Command(ctx, "true")
				if os.Getuid() == 0 { // such a child shares our files for longer: it waits for its maps
					id := []syscall.SysProcIDMap{{HostID: 0, Size: 1}}
					cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: id}
				}
				_ = cmd.Run()
			}
		})
	}
	for range 10 {
		dir := t.TempDir()
		for range 2 {
			m, err := Start(t.Context(), Config{DataDir: dir, UnsafeNoFsync: true}, quiet)
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
		}
	}
}

func TestNotADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := Start(t.Context(), Config{DataDir: file}, quiet); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	if _, err := Start(t.Context(), Config{}, quiet); err == nil || !strings.Contains(err.Error(), "data-dir") {
		t.Errorf("%v", err)
	}
}

// TestFullDisk: writes are refused with etcd's own error, reads go on, and when there
// is space again so do writes.
func TestFullDisk(t *testing.T) {
	m := start(t, t.TempDir())
	put(t, m, "a", "1")
	guard := m.Client().KV.(*guardedKV)
	reserve := guard.reserve
	guard.mu.Lock()
	guard.reserve = 1 << 62 // no disk has that
	guard.checked = guard.checked.Add(-2 * spaceCheckInterval)
	guard.mu.Unlock()
	_, err := m.Client().Put(t.Context(), "a", "2")
	if !errors.Is(err, rpctypes.ErrNoSpace) || !strings.Contains(err.Error(), "MiB are free") {
		t.Errorf("put: %v", err)
	}
	_, err = m.Client().Txn(t.Context()).If().Then(clientv3.OpPut("a", "3")).Else().Commit()
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("txn: %v", err)
	}
	if got := get(t, m, "a"); got != "1" {
		t.Errorf("read %q", got)
	}
	guard.mu.Lock()
	guard.reserve = reserve
	guard.checked = guard.checked.Add(-2 * spaceCheckInterval)
	guard.mu.Unlock()
	put(t, m, "a", "4")
}

// TestQuota: a full database is etcd's own error.
func TestQuota(t *testing.T) {
	m, err := Start(t.Context(), Config{DataDir: t.TempDir(), QuotaBytes: 1 << 20, UnsafeNoFsync: true}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 10_000 { // etcd looks at the size that it last committed
		if _, err = m.Client().Put(t.Context(), "a", strings.Repeat("x", 10_000)); err != nil {
			break
		}
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) && !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Errorf("%v", err)
	}
}

// external starts an etcd that listens, as etcd itself would.
func external(t *testing.T) string {
	t.Helper()
	socket, err := url.Parse("unix://" + filepath.Join(t.TempDir(), "etcd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ec := embedConfig(Config{DataDir: t.TempDir()}.withDefaults())
	ec.ListenClientUrls, ec.AdvertiseClientUrls = []url.URL{*socket}, []url.URL{*socket}
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newFault(quiet).logger())
	ec.TickMs, ec.ElectionMs = 10, 100
	server, err := embed.StartEtcd(ec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	return socket.String()
}

func TestExternal(t *testing.T) {
	m, err := Start(t.Context(), Config{Servers: []string{external(t)}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	put(t, m, "a", "1")
	if got := get(t, m, "a"); got != "1" {
		t.Errorf("%q", got)
	}
	if m.Revision() != nil {
		t.Error("an external cluster cannot know its revision for free")
	}
}

func TestExternalErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		cfg  Config
		want string
	}{
		{Config{Servers: []string{"http://127.0.0.1:1"}}, "does not answer"},
		{Config{Servers: []string{"https://127.0.0.1:1"}, CAFile: "/nowhere"}, "ca-file"},
		{Config{Servers: []string{"https://127.0.0.1:1"}, CertFile: "/nowhere"}, "both cert-file and key-file"},
		{Config{Servers: []string{"https://127.0.0.1:1"}, CertFile: "/nowhere", KeyFile: "/nowhere"}, "client certificate"},
	}
	for _, test := range tests {
		if _, err := Start(ctx, test.cfg, quiet); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.cfg, err)
		}
	}
}

// TestCompactOnce plays two API servers that take turns.
func TestCompactOnce(t *testing.T) {
	m := start(t, t.TempDir())
	ctx := t.Context()
	read := func(revision int64) error {
		_, err := m.Client().Get(ctx, "a", clientv3.WithRev(revision))
		return err
	}
	put(t, m, "a", "1") // revision 2
	turnA, seenA, err := compactOnce(ctx, m.Client(), 0, 0)
	if err != nil || turnA != 1 {
		t.Fatalf("first turn: %d, %v", turnA, err)
	}
	turnB, seenB, err := compactOnce(ctx, m.Client(), 0, 0)
	if err != nil || turnB != 1 || read(2) != nil {
		t.Fatalf("late: %d, %v; %v", turnB, err, read(2))
	}
	put(t, m, "a", "2")
	turnA, _, err = compactOnce(ctx, m.Client(), turnA, seenA)
	if err != nil || turnA != 2 {
		t.Fatalf("second turn: %d, %v", turnA, err)
	}
	if !errors.Is(read(2), rpctypes.ErrCompacted) || read(seenA) != nil {
		t.Errorf("compacted at %d: %v, %v", seenA, read(2), read(seenA))
	}
	if turnB, _, err = compactOnce(ctx, m.Client(), turnB, seenB); err != nil || turnB != 2 || read(seenA) != nil {
		t.Errorf("out of turn: %d, %v, %v", turnB, err, read(seenA))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func eachFile(t *testing.T, dir string, f func(path string)) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		f(filepath.Join(dir, e.Name()))
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
