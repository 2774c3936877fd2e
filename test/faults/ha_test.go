package faults

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/host"
)

// member is one of three API servers, with its etcd member, as a process of its own.
type member struct {
	t       *testing.T
	args    []string
	address string // of its own, in 127.0.0.0/8
	cmd     *host.Cmd
	stderr  lockedBuffer
	client  *kubernetes.Clientset
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// threeServers starts three at once on an empty directory: nobody has made certificates
// or anything else before.
func threeServers(t *testing.T) []*member {
	t.Helper()
	ctl, err := filepath.Abs("../../bin/ctl")
	if err == nil {
		_, err = os.Stat(ctl)
	}
	if err != nil {
		t.Fatalf("run scripts/build first: %v", err)
	}
	dir, network := t.TempDir(), fmt.Sprintf("127.%d.%d.", 1+rand.IntN(200), rand.IntN(250))
	var cluster []string
	for i := range 3 {
		cluster = append(cluster, fmt.Sprintf("api%d=https://%s%d:2380", i+1, network, i+1))
	}
	var all []*member
	for i := range 3 {
		name := fmt.Sprintf("api%d", i+1)
		m := &member{t: t, address: fmt.Sprintf("%s%d:6443", network, i+1)}
		m.args = []string{ctl, "serve", "apiserver", "--bind-address=" + m.address, "--names=" + strings.TrimSuffix(m.address, ":6443"),
			fmt.Sprintf("--advertise-address=172.30.0.%d:6443", i+21), "--control-plane-endpoint=localhost:6443", "--pki-dir=" + filepath.Join(dir, "pki"),
			"--etcd-data-dir=" + filepath.Join(dir, name), "--etcd-name=" + name, "--etcd-initial-cluster=" + strings.Join(cluster, ",")}
		m.start()
		t.Cleanup(func() {
			m.kill()
			if t.Failed() {
				text := m.stderr.String()
				t.Logf("%s: %s", name, text[max(0, len(text)-3000):])
			}
		})
		all = append(all, m)
	}
	for _, m := range all {
		kubeconfig := filepath.Join(dir, "pki", "admin.kubeconfig")
		m.eventually("there is a kubeconfig", func() error { _, err := os.Stat(kubeconfig); return err })
		config, err := clientcmd.BuildConfigFromFlags("https://"+m.address, kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		config.QPS, config.Timeout = -1, 15*time.Second // more than any refusal takes
		m.client = kubernetes.NewForConfigOrDie(config)
	}
	return all
}

func (m *member) start() {
	m.t.Helper()
	m.cmd = (*host.Host)(nil).Command(context.Background(), m.args[0], m.args[1:]...)
	m.cmd.Stderr = &m.stderr
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	m.cmd = nil
}

func (m *member) signal(s syscall.Signal) { _ = m.cmd.Process.Signal(s) }

func (m *member) eventually(what string, f func() error) {
	m.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: %s: still not: %v", m.address, what, err)
		}
	}
}

func (m *member) works() {
	m.t.Helper()
	m.eventually("it is ready", func() error {
		_, err := m.client.RESTClient().Get().AbsPath("/readyz").DoRaw(m.t.Context())
		return err
	})
}

// endpoints waits until the Service kubernetes leads to so many servers.
func (m *member) endpoints(want int) {
	m.t.Helper()
	m.eventually(fmt.Sprint("endpoints of the Service kubernetes: ", want), func() error {
		slice, err := m.client.DiscoveryV1().EndpointSlices("default").Get(m.t.Context(), "kubernetes", metav1.GetOptions{})
		if err == nil && len(slice.Endpoints) != want {
			err = fmt.Errorf("%v", slice.Endpoints)
		}
		return err
	})
}

// TestThreeServers breaks each of three API servers in turn under compare-and-swaps of
// clients that use all of them: the history must be one that a single register could have
// had. Then it takes their quorum away and gives it back.
func TestThreeServers(t *testing.T) {
	begin := time.Now()
	all := threeServers(t)
	for _, m := range all {
		m.works()
	}
	t.Logf("three first starts: ready after %s", time.Since(begin).Round(time.Millisecond))
	all[0].endpoints(3)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	h := &history{begin: time.Now(), acknowledged: map[string]string{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for id := range clients {
		wg.Go(func() { h.use(ctx, stop, all[id%3].client, id) })
	}
	for i, m := range all {
		h.more(ctx, 100)
		m.kill()
		down := time.Now()
		h.more(ctx, 1)
		t.Logf("server %d killed: somebody else's next write after %s", i+1, time.Since(down).Round(time.Millisecond))
		h.more(ctx, 100)
		m.start()
		m.works()
	}
	all[0].signal(syscall.SIGSTOP)
	h.more(ctx, 100)
	all[0].signal(syscall.SIGCONT)
	all[0].works()

	all[1].kill()
	all[2].kill()
	all[0].refuses()
	close(stop)
	all[1].start()
	all[1].works()
	all[0].works()
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatal("the servers were too slow to break")
	}
	result := porcupine.CheckOperationsTimeout(registers.ToModel(), h.operations, time.Minute)
	if result != porcupine.Ok {
		t.Errorf("no single register behaves like that: %s", result)
	}
	t.Logf("%d operations, %d writes acknowledged, %d with unknown outcome", len(h.operations), len(h.acknowledged), h.unknown)
	all[1].endpoints(2)
	all[2].start()
	all[2].works()
	all[2].endpoints(3)
	all[2].losesDisk(all[0])
}

// losesDisk takes a member's data away: it is refused, and then replaced.
func (m *member) losesDisk(other *member) {
	m.t.Helper()
	m.kill()
	if err := os.RemoveAll(m.data()); err != nil {
		m.t.Fatal(err)
	}
	m.start()
	m.eventually("a member that forgot its votes is told what to do", func() error {
		if text := m.stderr.String(); !strings.Contains(text, "ctl etcd member replace "+filepath.Base(m.data())) {
			return fmt.Errorf("it says %q", text[max(0, len(text)-300):])
		}
		return nil
	})
	_ = m.cmd.Wait()
	servers := "--servers=https://" + strings.TrimSuffix(other.address, "6443") + "2379"
	pkiDir := "--pki-dir=" + filepath.Join(filepath.Dir(m.data()), "pki")
	for _, verb := range [][]string{{"replace", filepath.Base(m.data())}, {"list"}} {
		command := (*host.Host)(nil).Command(m.t.Context(), m.args[0], append(append([]string{"etcd", "member"}, verb...), servers, pkiDir)...)
		var out bytes.Buffer
		command.Stdout, command.Stderr = &out, &out
		if err := command.Run(); err != nil {
			m.t.Fatalf("%v: %v: %s", verb, err, &out)
		}
		m.t.Logf("%v: %s", verb, &out)
	}
	if err := os.RemoveAll(m.data()); err != nil {
		m.t.Fatal(err)
	}
	m.args = append(m.args, "--etcd-initial-cluster-state=existing")
	m.start()
	m.works()
}

// data is its etcd directory, which is called as the member is.
func (m *member) data() string {
	for _, arg := range m.args {
		if dir, ok := strings.CutPrefix(arg, "--etcd-data-dir="); ok {
			return dir
		}
	}
	return ""
}

// more waits for so many further acknowledged writes.
func (h *history) more(ctx context.Context, n int64) { h.wait(ctx, h.acks.Load()+n) }

// refuses looks at what a server without a quorum answers.
func (m *member) refuses() {
	m.t.Helper()
	ctx, maps := m.t.Context(), m.client.CoreV1().ConfigMaps("default")
	m.eventually("writes are refused, for want of a leader", func() error {
		err := maps.Delete(ctx, "nothing", metav1.DeleteOptions{})
		if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "no leader") {
			return fmt.Errorf("a write is answered with %w", err)
		}
		return nil
	})
	if _, err := maps.List(ctx, metav1.ListOptions{}); !apierrors.IsServiceUnavailable(err) {
		m.t.Errorf("a consistent read is answered with %v", err)
	}
	if list, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: "0"}); err != nil {
		m.t.Errorf("a read of what the server knows: %v", err)
	} else if list.ResourceVersion == "" {
		m.t.Error("the list has no version")
	}
	text, err := m.client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if err == nil || !strings.Contains(string(text), "[-]etcd failed") {
		m.t.Errorf("/readyz says %s, %v", text, err)
	}
}
