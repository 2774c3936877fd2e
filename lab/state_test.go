package lab

import (
	"os"
	"strings"
	"testing"
	"time"
)

// madeAt gives a lab a lock file of that age, as a start leaves it.
func madeAt(t *testing.T, name string, ago time.Duration) State {
	t.Helper()
	s, err := StateOf(name)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := s.lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-ago)
	if err := os.Chtimes(s.lockFile(), at, at); err != nil {
		t.Fatal(err)
	}
	return s
}

func current(t *testing.T) string {
	t.Helper()
	s, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	return s.Name
}

func TestCurrent(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("ORRERY_LAB", "")
	if got := current(t); got != DefaultName {
		t.Errorf("without any lab: %s", got)
	}
	old := madeAt(t, "old", 2*time.Hour)
	madeAt(t, "new", time.Hour)
	if got := current(t); got != "new" {
		t.Errorf("none is running: %s, not the one started last", got)
	}
	lock, err := old.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if got := current(t); got != "old" {
		t.Errorf("old is running: %s", got)
	}
	t.Setenv("ORRERY_LAB", "new")
	if got := current(t); got != "new" {
		t.Errorf("ORRERY_LAB names new: %s", got)
	}
}

func TestLockIsHeldByOneOnly(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s, err := StateOf("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, running := s.Running(); running {
		t.Error("a lab that never was is running")
	}
	lock, err := s.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.lock(); err != ErrRunning {
		t.Errorf("the second lock: %v", err)
	}
	if err := s.Remove(); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Errorf("removing a running lab: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, running := s.Running(); running {
		t.Error("it is running after the lock was given back")
	}
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"lab": true, "a-1": true, "": false, "A": false, "-a": false, "a/b": false, "..": false, strings.Repeat("a", 33): false} {
		if _, err := StateOf(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNodeAddressesStayClearOfOutside(t *testing.T) {
	if a := nodeAddress(maxNodes); !a.Less(outsideAddress) {
		t.Errorf("the last node has %s, outside has %s", a, outsideAddress)
	}
}
