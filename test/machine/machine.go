// Package machine is a machine with an API server and a Service proxy on it, each a
// process of its own, for tests that measure or break them. The machine is a network
// namespace; the processes are bin/ctl, which scripts/build makes.
package machine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/host"
)

// The addresses of a machine.
const (
	Address   = "172.30.0.11"
	Reachable = "10.200.0.1" // an endpoint that answers on port 8080: it sends back what it gets
)

// patience is how long anything may take. (kube-proxy needs it for 10,000 Services.)
const patience = 10 * time.Minute

// Machine is a network namespace with an API server in it.
type Machine struct {
	testing.TB
	Place     *host.Host
	Client    kubernetes.Interface
	APIServer *Process
	dir       string
}

// New makes a Machine that lasts as long as the test.
func New(t testing.TB) *Machine {
	t.Helper()
	place, err := host.Create("machine", nil)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("needs root or a user namespace: ", err)
	}
	t.Cleanup(place.Close)
	m := &Machine{TB: t, Place: place, dir: t.TempDir()}
	m.Run("sh", "-ec", `ip link set lo up
		ip link add eth0 type veth peer name cable
		ip link set cable up
		ip link set eth0 up
		ip addr add `+Address+`/24 dev eth0
		ip addr add `+Reachable+`/32 dev lo
		ip route add default via 172.30.0.1
		sysctl -qw net.ipv4.icmp_ratelimit=0`) // refusals are counted upon
	m.echo()
	m.StartAPIServer()
	config, err := clientcmd.BuildConfigFromFlags("", m.kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Dial = -1, place.Dial
	m.Client = kubernetes.NewForConfigOrDie(config)
	m.Eventually("the API server answers", func() error {
		_, err := m.Client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: Address}}}}, metav1.CreateOptions{})
		return err
	})
	return m
}

// echo is the endpoint at Reachable.
func (m *Machine) echo() {
	listener, err := m.Place.Listen(m.Context(), "tcp", Reachable+":8080")
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 64)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// StartAPIServer runs an API server on the data of the one before, if there was one.
func (m *Machine) StartAPIServer() *Process {
	m.Helper()
	m.Setenv("XDG_STATE_HOME", m.dir)
	m.APIServer = m.Start(m.ctl(), "serve", "apiserver", "--bind-address", Address+":6443", "--nodes", "node1="+Address,
		"--pki-dir", filepath.Join(m.dir, "pki"), "--etcd-data-dir", filepath.Join(m.dir, "etcd"))
	for _, name := range []string{"admin", "proxy"} {
		m.Eventually("there is a kubeconfig for "+name, func() error {
			_, err := os.Stat(m.kubeconfig(name))
			return err
		})
	}
	return m.APIServer
}

// StartProxy runs a Service proxy. With KUBE_PROXY=path it is upstream's.
func (m *Machine) StartProxy(mode string) *Process {
	m.Helper()
	if upstream := os.Getenv("KUBE_PROXY"); upstream != "" {
		return m.Start(upstream, "--kubeconfig", m.kubeconfig("proxy"), "--hostname-override", "node1", "--proxy-mode", mode, "--cluster-cidr", "10.244.0.0/16",
			"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0")
	}
	return m.Start(m.ctl(), "serve", "proxy", "--kubeconfig", m.kubeconfig("proxy"), "--node-name", "node1", "--mode", mode)
}

func (m *Machine) kubeconfig(name string) string {
	return filepath.Join(m.dir, "pki", name+".kubeconfig")
}

func (m *Machine) ctl() string {
	path, err := filepath.Abs("../../bin/ctl")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		m.Fatalf("run scripts/build first: %v", err)
	}
	return path
}

// Run runs a program to its end.
func (m *Machine) Run(name string, args ...string) {
	m.Helper()
	cmd := m.Place.Command(m.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		m.Fatalf("%s: %v: %s", name, err, &stderr)
	}
}

// Eventually tries until there is no error.
func (m *Machine) Eventually(what string, f func() error) {
	m.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond / 2) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.Fatalf("%s: still not: %v", what, err)
		}
	}
}

// Dial connects to a Service's ClusterIP, or whatever the rules make of it.
func (m *Machine) Dial(clusterIP string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(m.Context(), 50*time.Millisecond)
	defer cancel()
	return m.Place.Dial(ctx, "tcp", net.JoinHostPort(clusterIP, "80"))
}

// Until waits until a ClusterIP answers, or does not, and tells how long that took.
func (m *Machine) Until(clusterIP string, want bool) time.Duration {
	m.Helper()
	start := time.Now()
	m.Eventually(fmt.Sprintf("%s answers: %v", clusterIP, want), func() error {
		conn, err := m.Dial(clusterIP)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			return fmt.Errorf("connection to %s: %v", clusterIP, err)
		}
		return nil
	})
	return time.Since(start)
}

// Connect makes some connections to a ClusterIP one after the other, and tells how long
// each took, in order.
func (m *Machine) Connect(clusterIP string, times int) []time.Duration {
	m.Helper()
	to := &unix.SockaddrInet4{Port: 80, Addr: netip.MustParseAddr(clusterIP).As4()}
	var took []time.Duration
	err := m.Place.Do(func() error {
		for range times {
			socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			start := time.Now()
			err = unix.Connect(socket, to)
			took = append(took, time.Since(start))
			_ = unix.Close(socket)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.Fatalf("connect to %s: %v", clusterIP, err)
	}
	slices.Sort(took)
	return took
}
