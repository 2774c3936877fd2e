package sandbox

import (
	"os"
	"testing"
	"time"
)

func TestParseUsage(t *testing.T) {
	u, err := parseUsage("42 (a (b) c) S 1 42 42 0 -1 4194560 9 8 0 0 100 20 3 4 20 0 1 0 5000 1000000 7 18446744073709551615 1 1")
	if err != nil || u.CPU != 1270*time.Millisecond || u.Memory != int64(7*os.Getpagesize()) {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 9 8 0 0 many 20 3 4 20 0 1 0 5000 1000000 7"} {
		if _, err := parseUsage(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func TestUsages(t *testing.T) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 50*time.Millisecond; { // some ticks
	}
	all, err := Usages()
	if err != nil || all[own].CPU == 0 || all[own].Memory < 1<<20 {
		t.Errorf("this program uses %+v, %v", all[own], err)
	}
}

func FuzzParseUsage(f *testing.F) {
	f.Add("42 (a) S 1 42 42 0 -1 4194560 9 8 0 0 100 20 3 4 20 0 1 0 5000 1000000 7")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseUsage(text) })
}
