package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"orrery.example.org/pki"
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

// trio is a cluster of three embedded members, each with an address of its own.
type trio struct {
	t       *testing.T
	configs [3]Config
	members [3]*Member
}

// newTrio starts three members at once, over TLS.
func newTrio(t *testing.T) *trio {
	t.Helper()
	c := &trio{t: t}
	certs := t.TempDir()
	ca, err := pki.LoadOrCreateCA(certs, "etcd-ca")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i := range c.configs { // by the process's number: tests run side by side
		ip := net.IPv4(127, byte(100+i), byte(os.Getpid()>>8), byte(os.Getpid()))
		name := fmt.Sprint("m", i)
		pair, err := ca.Issue(pki.Request{User: name, IPs: []net.IP{ip, net.IPv4(127, 0, 0, 1)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := pair.Write(certs, name); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(certs, name)
		c.configs[i] = Config{DataDir: t.TempDir(), UnsafeNoFsync: true, Peers: Peers{Name: name,
			PeerCertFile: file + ".crt", PeerKeyFile: file + ".key", PeerTrustedCAFile: filepath.Join(certs, "ca.crt")}}
		all = append(all, name+"=https://"+ip.String()+":2380")
	}
	for i := range c.configs {
		c.configs[i].InitialCluster = strings.Join(all, ",")
	}
	c.start(0, 1, 2)
	t.Cleanup(func() { c.stop(0, 1, 2) })
	return c
}

// start starts some of them at the same time.
func (c *trio) start(which ...int) {
	c.t.Helper()
	var g errgroup.Group
	for _, i := range which {
		g.Go(func() (err error) {
			c.members[i], err = Start(c.t.Context(), c.configs[i], quiet)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *trio) stop(which ...int) {
	for _, i := range which {
		if c.members[i] != nil {
			c.members[i].Close()
			c.members[i] = nil
		}
	}
}

// external is the configuration of somebody who comes from outside, as member i would.
func (c *trio) external() Config {
	cfg := Config{CAFile: c.configs[0].PeerTrustedCAFile, CertFile: c.configs[0].PeerCertFile, KeyFile: c.configs[0].PeerKeyFile}
	for _, member := range strings.Split(c.configs[0].InitialCluster, ",") {
		_, url, _ := strings.Cut(member, "=")
		cfg.Servers = append(cfg.Servers, strings.Replace(url, ":2380", ":2379", 1))
	}
	return cfg
}

// eventuallyPut tries until the member takes a write: after a loss there is an election.
func (c *trio) eventuallyPut(m *Member, key, value string) {
	c.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		_, err := m.Client().Put(c.t.Context(), key, value)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal(err)
		}
	}
}

// TestExternalTrio: an external cluster of three members, one of which is dead.
func TestExternalTrio(t *testing.T) {
	c := newTrio(t)
	c.stop(0)
	outside, err := Start(t.Context(), c.external(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	c.eventuallyPut(outside, "a", "1")
	if got := get(t, outside, "a"); got != "1" {
		t.Errorf("%q", got)
	}
	outside.Close()
}

// TestReplaceMember: a member that lost its directory may not come back as if nothing
// was; replaced, it may.
func TestReplaceMember(t *testing.T) {
	c := newTrio(t)
	put(t, c.members[1], "a", "1")
	c.stop(2)
	c.configs[2].DataDir = t.TempDir()
	m, err := Start(t.Context(), c.configs[2], quiet)
	if err == nil {
		m.Close()
		t.Fatal("a member that forgot its votes was let in")
	}
	if want := "ctl etcd member replace m2"; !strings.Contains(err.Error(), want) {
		t.Fatalf("%v: does not say %q", err, want)
	}
	external := c.external()
	if err := ReplaceMember(t.Context(), external, "nobody"); err == nil || !strings.Contains(err.Error(), "no member") {
		t.Errorf("%v", err)
	}
	if err := ReplaceMember(t.Context(), external, "m2"); err != nil {
		t.Fatal(err)
	}
	c.configs[2].InitialClusterState = "existing"
	c.configs[2].DataDir = t.TempDir()
	c.start(2)
	if got := get(t, c.members[2], "a"); got != "1" {
		t.Errorf("the new member reads %q", got)
	}
	if members, err := ListMembers(t.Context(), external); err != nil || len(members) != 3 {
		t.Errorf("%q, %v", members, err)
	}
}

// TestWaitsForQuorum: one of two waits, and stops waiting when it is told to.
func TestWaitsForQuorum(t *testing.T) {
	c := newTrio(t)
	c.stop(0, 1, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if m, err := Start(ctx, c.configs[0], quiet); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", m, err)
	}
	c.start(0, 1) // what it had stays
}
