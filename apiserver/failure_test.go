package apiserver

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestDeadStore: a server whose etcd cannot write any more says so and ends, instead of
// serving what it remembers for ever.
func TestDeadStore(t *testing.T) {
	c := start(t)
	maps := c.client().CoreV1().ConfigMaps("default")
	w, err := maps.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	breakLog(t, c.dir)
	if _, err := maps.Create(t.Context(), configMap("lost", nil), metav1.CreateOptions{}); err == nil {
		t.Error("a write that is not on the disk was acknowledged")
	}
	select {
	case err := <-c.done:
		if err == nil || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(gracePeriod / 2):
		t.Error("the server goes on")
	}
	if _, err := c.http().Get(c.url + "/livez"); err == nil {
		t.Error("somebody still answers")
	}
	c.stop = func() {}
}

// breakLog puts a full disk in the place of the open log below dir.
func breakLog(t *testing.T, dir string) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, e := range open {
		path, _ := os.Readlink("/proc/self/fd/" + e.Name()) // the one of ReadDir is gone
		if !strings.HasPrefix(path, dir) || filepath.Ext(path) != ".wal" {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Dup3(int(full.Fd()), fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		broken++
	}
	if broken == 0 {
		t.Fatal("the log is not open")
	}
}
