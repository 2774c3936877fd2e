package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const (
	somePasswd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:101:82:web,,:/srv/web:/sbin/nologin\n7:x:200:201::/seven:\n"
	someGroup  = "root:x:0:root\nwheel:x:10:root,web\nwww:x:82:\nshort:x\nlog:x:20:web\n"
)

func TestFindAccount(t *testing.T) {
	for user, want := range map[string]string{
		"0":         "0 0 [0 10] /root",
		"web":       "101 82 [10 20] /srv/web",
		"101":       "101 82 [10 20] /srv/web",
		"web:wheel": "101 10 [] /srv/web",
		"web:4":     "101 4 [] /srv/web",
		"1234":      "1234 0 [] /",
		"1234:www":  "1234 82 [] /",
		"7":         "200 201 [] /seven", // a name may look like a number
		"nobody":    "unable to find user nobody: no matching entries in passwd file",
		"web:staff": "unable to find group staff: no matching entries in group file",
		"":          "unable to find user : no matching entries in passwd file",
	} {
		a, err := findAccount(somePasswd, someGroup, user)
		got := fmt.Sprint(a.UID, " ", a.GID, " ", a.Groups, " ", a.Home)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q is %s, want %s", user, got, want)
		}
	}
}

// TestAccountStaysInTheTree looks at a tree whose files lead out of it.
func TestAccountStaysInTheTree(t *testing.T) {
	outside, tree := filepath.Join(t.TempDir(), "passwd"), t.TempDir()
	if err := os.WriteFile(outside, []byte(somePasswd), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tree, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(tree, "etc", "passwd")); err != nil {
		t.Fatal(err)
	}
	if a, err := (Image{Root: tree}).Account("web"); err == nil {
		t.Errorf("the node's file was read: %v", a)
	}
	if a, err := (Image{Root: tree}).Account("5"); err != nil || a.UID != 5 {
		t.Errorf("a number: %v, %v", a, err)
	}
}

func FuzzFindAccount(f *testing.F) {
	f.Add(somePasswd, someGroup, "web:www")
	f.Add("a:b:c:d:e:f", "::1:,", ":")
	f.Fuzz(func(t *testing.T, passwd, group, user string) {
		a, err := findAccount(passwd, group, user)
		if err == nil && (a.UID >= 1<<31 || a.GID >= 1<<31) {
			t.Errorf("%v", a)
		}
	})
}
