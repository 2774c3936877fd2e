package etcd

import (
	"errors"
	"strings"
	"testing"
)

// TestPeers: whatever is wrong with the names of the peers, there is a sentence that says
// what.
func TestPeers(t *testing.T) {
	files := Peers{PeerCertFile: "c", PeerKeyFile: "k", PeerTrustedCAFile: "ca"}
	const cluster = "a=https://127.0.0.1:2380,b=https://127.0.0.2:2380"
	for _, row := range []struct{ name, cluster, state, want string }{
		{"a", cluster, "", ""},
		{"a", cluster, "existing", ""},
		{"", "", "", ""},
		{"c", cluster, "", `no member "c"`},
		{"a", "a=http://127.0.0.1:2380", "", "must begin with https"},
		{"a", "127.0.0.1:2380", "", "initial-cluster"},
		{"a", cluster, "old", "must be new or existing"},
	} {
		p := files
		p.Name, p.InitialCluster, p.InitialClusterState = row.name, row.cluster, row.state
		if err := p.validate(); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s in %q: %v, want %q", row.name, row.cluster, err, row.want)
		}
	}
	if err := (Peers{Name: "a", InitialCluster: cluster}).validate(); err == nil || !strings.Contains(err.Error(), "peer-cert-file") {
		t.Errorf("without certificates: %v", err)
	}
}

// TestAdvice: a member that its peers know is told what to do, and no other.
func TestAdvice(t *testing.T) {
	if got := advice(errors.New("member 1 has already been bootstrapped"), "a"); !strings.Contains(got, "existing") {
		t.Errorf("%q", got)
	}
	if got := advice(errors.New("no space"), "a"); got != "" {
		t.Errorf("%q", got)
	}
}

// TestOtherDirectory: a directory is of one member, and of no other.
func TestOtherDirectory(t *testing.T) {
	dir := t.TempDir()
	start(t, dir).Close()
	if _, err := openDataDir(dir, "a"); err == nil || !strings.Contains(err.Error(), "without peers") {
		t.Errorf("%v", err)
	}
}
