package shim

import (
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
)

func TestMain(m *testing.M) {
	RunIfShim()
	os.Exit(m.Run())
}

// deepDir is one whose path is longer than a socket's address may be.
func deepDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir() + "/" + strings.Repeat("long-", 30)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOneShimPerDirectory(t *testing.T) {
	ctx, dir, log := t.Context(), deepDir(t), slog.New(slog.DiscardHandler)
	first, err := Open(ctx, dir, log)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(first.PID())
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(ctx, dir, log)
	if err != nil || second.PID() != first.PID() {
		t.Errorf("a second agent has shim %s, the first %d (%v)", second.PID(), pid, err)
	}
	if err := spawn(dir); err == nil || !strings.Contains(err.Error(), "another shim has "+dir) {
		t.Errorf("a second shim: %v", err)
	}
	if list, err := second.List(ctx); err != nil || len(list.Pods)+len(list.Runs) != 0 {
		t.Errorf("it has %+v (%v)", list, err)
	}
	for _, q := range []request{{Verb: verbFollow, ID: "x"}, {Verb: verbTake, Pod: "/x"}, {Verb: "dance"}, {Verb: verbStart}, {Verb: verbStart, Start: &Start{}}} {
		if a, err := second.ask(ctx, q); err == nil || a.Version != Version {
			t.Errorf("%+v: %+v, %v", q, a, err)
		}
	}
	if err := End(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if err := End(ctx, dir); err != nil {
		t.Errorf("ending none: %v", err)
	}
	if _, err := second.List(ctx); err == nil {
		t.Error("it answers after its end")
	}
}

// TestAnOlderShim meets one that refuses all but its end.
func TestAnOlderShim(t *testing.T) {
	dir := deepDir(t)
	lock, err := os.Create(dir + "/shim.lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	path, done, err := address(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	var here *host.Host
	ln, err := here.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for len(verbs) == 0 || verbs[len(verbs)-1] != verbEnd {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := receiveFiles(conn.(*net.UnixConn)); err != nil {
				return
			}
			var q request
			_ = json.NewDecoder(conn).Decode(&q)
			verbs = append(verbs, q.Verb)
			a := answer{Version: Version + 1}
			if q.Verb != verbEnd {
				a.Error = "another version"
			}
			_ = send(conn.(*net.UnixConn), a)
			_ = conn.Close()
		}
		_ = ln.Close()
		_ = lock.Close()
	}()
	c, err := Open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	if got := strings.Join(verbs, " "); got != "list end" {
		t.Errorf("it was asked to %s", got)
	}
	a, err := c.ask(t.Context(), request{Verb: verbList})
	if err != nil || a.Version != Version {
		t.Errorf("the new one says %+v (%v)", a, err)
	}
	if err := End(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}

func TestHowAProgramEnded(t *testing.T) {
	for _, e := range []*Exit{{Code: 3}, {Code: 137, Signal: 9}, {}, {Error: "no such file"}} {
		got := exitOf(e.Err())
		got.At = time.Time{}
		if *got != *e {
			t.Errorf("%+v became %+v", *e, *got)
		}
	}
}
