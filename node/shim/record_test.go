package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func written(t testing.TB) (pod string, data []byte) {
	t.Helper()
	pod = t.TempDir()
	r := Record{Start: Start{ID: "id", Pod: pod, For: "default/web/main", Argv: []string{"sleep"}, Note: []byte("{}")}, PID: 7, Exit: &Exit{Code: 3, At: time.Unix(1, 0).UTC()}}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(pod, "runs", "main"))
	if err != nil {
		t.Fatal(err)
	}
	return pod, data
}

func TestRecords(t *testing.T) {
	pod, data := written(t)
	if err := os.WriteFile(filepath.Join(pod, "runs", "other.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, damaged := Records(pod)
	if len(damaged) != 0 || len(all) != 1 || all["main"].ID != "id" || all["main"].PID != 7 || all["main"].Exit.Code != 3 {
		t.Errorf("records %+v, damaged %v", all, damaged)
	}
	for what, damage := range map[string]struct {
		data string
		want string
	}{
		"cut":      {string(data[:len(data)-1]), "unexpected end"},
		"empty":    {"", "unexpected end"},
		"zeros":    {strings.Repeat("\x00", len(data)), "invalid character"},
		"changed":  {strings.Replace(string(data), `"PID":7`, `"PID":8`, 1), "checksum"},
		"newer":    {strings.Replace(string(data), `"Version":1`, `"Version":2`, 1), "version 2"},
		"of other": {string(data), "it is of default/web/main"},
	} {
		name := "main"
		if what == "of other" {
			name = "stranger"
		}
		if err := os.WriteFile(filepath.Join(pod, "runs", name), []byte(damage.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, damaged := Records(pod); damaged[name] == nil || !strings.Contains(damaged[name].Error(), damage.want) {
			t.Errorf("%s: %v, want %q", what, damaged, damage.want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	_, data := written(f)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err == nil && r.Exit != nil && r.Exit.Err() != nil && r.Exit.Err().Error() == "" {
			t.Error("an error that says nothing")
		}
	})
}
