package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/etcd"
)

// TestResumeOverRestart: a watch that knows a revision from before the API server's
// restart goes on from there, and misses nothing.
func TestResumeOverRestart(t *testing.T) {
	m := startEtcd(t, t.TempDir())
	s, stop := run(t, m, WithRevision(m.Revision()))
	c := s.Collection(configMaps)
	ctx := testContext(t)
	known := put(t, c, "default", "a", "1")
	put(t, c, "default", "a", "2")
	put(t, c, "default", "b", "1")
	remove(t, c, "default", "b")
	w, err := c.Watch(ctx, WatchOptions{Revision: known.Revision})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	for err == nil {
		_, err = w.Next(ctx)
	}
	if err != errStopped {
		t.Errorf("a watcher when the store stops: %v", err)
	}
	w.Stop()

	s, _ = run(t, m, WithRevision(m.Revision()))
	c = s.Collection(configMaps)
	w, err = c.Watch(ctx, WatchOptions{Revision: known.Revision})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	put(t, c, "default", "a", "3")
	var got []string
	for len(got) < 4 {
		for _, n := range next(t, w) {
			got = append(got, n[:strings.Index(n, "@")])
		}
	}
	if text := strings.Join(got, ", "); text != "M a=2, A b=1, D b=1, M a=3" {
		t.Errorf("resumed: %s", text)
	}
	if l, err := c.List(ctx, ListOptions{Revision: known.Revision, Exact: true}); err != nil || strings.Join(contents(l), " ") != "default/a=1" {
		t.Errorf("the state then: %v, %v", l, err)
	}
}

// victimDir tells a test process that it is the one to be killed.
const victimDir = "ORRERY_STORE_TEST_VICTIM"

// TestVictim is not a test of its own: it writes until TestKill kills it, and says
// what was acknowledged.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		t.Skip("only runs as the child of TestKill")
	}
	m, err := etcd.Start(t.Context(), etcd.Config{DataDir: dir}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s := New(m.Client(), "/registry/", []*api.Kind{configMaps}, quiet, WithRevision(m.Revision()))
	go s.Run(context.Background()) // until killed
	c := s.Collection(configMaps)
	var mu sync.Mutex
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("w%d-%d", n, i%5)
				v, err := c.Write(context.Background(), "default", name, func(*Version) (Write, error) {
					return Write{Object: configMap("default", name, fmt.Sprint(i)), Claim: []string{name}}, nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				fmt.Printf("acknowledged %s %d %d\n", name, i, v.Revision)
				mu.Unlock()
			}
		})
	}
	writers.Wait()
}

// TestKill kills a server under load, several times, and looks for every write that
// it acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		latest := killOne(t, dir, 150+97*round)
		m := startEtcd(t, dir)
		s, stop := run(t, m, WithRevision(m.Revision()))
		c := s.Collection(configMaps)
		for name, want := range latest {
			v, err := c.Get(testContext(t), "default", name, false)
			if err != nil {
				t.Errorf("round %d: %s, acknowledged at %d, is gone: %v", round, name, want.revision, err)
				continue
			}
			// One more write may have been done that nobody was told of.
			if v.Revision < want.revision || v.Revision == want.revision && value(v) != want.value {
				t.Errorf("round %d: %s is %s@%d, acknowledged was %s@%d", round, name, value(v), v.Revision, want.value, want.revision)
			}
		}
		if held, objects := len(s.Claims("")), c.Len(); held != objects {
			t.Errorf("round %d: %d names are claimed by %d objects", round, held, objects)
		}
		stop()
		m.Close()
	}
}

type acknowledged struct {
	value    string
	revision int64
}

// killOne runs a victim until it has acknowledged some writes, and kills it. It
// returns the last acknowledged write of each name.
func killOne(t *testing.T, dir string, writes int) map[string]acknowledged {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	latest := map[string]acknowledged{}
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var name string
		var a acknowledged
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %s %s %d", &name, &a.value, &a.revision); err != nil {
			continue
		}
		if a.revision > latest[name].revision {
			latest[name] = a
		}
		if n++; n == writes {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if n < writes {
		t.Fatalf("the victim ended after %d writes", n)
	}
	return latest
}
