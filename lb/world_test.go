package lb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"orrery.example.org/host"
	"orrery.example.org/proxy/flowtest"
)

func TestMain(m *testing.M) { flowtest.Main(m) }

const clientAddress = "172.30.0.200"

// network is a wire with a client, a balancer and two nodes on it.
type network struct {
	t                *testing.T
	six              bool // all addresses are those of IPv6 that flowtest.Six makes
	client, balancer *host.Host
	nodes            map[string]*backend
	api              *fake.Clientset
}

// backend is a node that serves the address 172.30.100.1 itself, as one with a service
// proxy would.
type backend struct {
	host *host.Host
	well atomic.Bool
}

// newNetwork makes the namespaces; a test that may not is skipped.
func newNetwork(t *testing.T, six bool) *network {
	t.Helper()
	n := &network{t: t, six: six, nodes: map[string]*backend{}, api: fake.NewClientset()}
	wire, err := host.Create("wire", nil)
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skipf("namespaces need privileges: %v", err)
	}
	must(t, err)
	t.Cleanup(wire.Close)
	links, err := wire.Links()
	must(t, err)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "wire"}}
	must(t, links.LinkAdd(bridge))
	must(t, links.LinkSetUp(bridge))
	plug := func(name, address string) *host.Host {
		h, err := host.Create(name, nil)
		must(t, err)
		t.Cleanup(h.Close)
		port := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name, MasterIndex: bridge.Index},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(h.NetNS().Fd()),
		}
		must(t, links.LinkAdd(port))
		must(t, links.LinkSetUp(port))
		configure(t, h, "lo", "")
		configure(t, h, "eth0", n.net(address+"/24"))
		return h
	}
	n.client, n.balancer = plug("client", clientAddress), plug("balancer", "172.30.0.3")
	n.route(n.client, "172.30.100.0/24", "172.30.0.3")
	n.route(n.balancer, "0.0.0.0/0", clientAddress)
	for name, address := range map[string]string{"a": "172.30.0.11", "b": "172.30.0.12"} {
		b := &backend{host: plug(name, address)}
		b.well.Store(true)
		n.nodes[name] = b
		configure(t, b.host, "lo", n.net("172.30.100.1/32"))
		b.serve(t, name, n.at("172.30.100.1"))
		_, err := n.api.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.at(address)}}},
		}, metav1.CreateOptions{})
		must(t, err)
	}
	return n
}

// at is an address in the network's family.
func (n *network) at(address string) string {
	if !n.six {
		return address
	}
	return flowtest.Six(netip.MustParseAddr(address)).String()
}

// net is a prefix in the network's family.
func (n *network) net(prefix string) string {
	switch {
	case !n.six:
		return prefix
	case prefix == "0.0.0.0/0":
		return "::/0"
	}
	return flowtest.SixPrefix(netip.MustParsePrefix(prefix)).String()
}

// vip is the Service's address with a port.
func (n *network) vip(port int) string {
	return net.JoinHostPort(n.at("172.30.100.1"), strconv.Itoa(port))
}

func configure(t *testing.T, h *host.Host, link, address string) {
	t.Helper()
	links, err := h.Links()
	must(t, err)
	l, err := links.LinkByName(link)
	must(t, err)
	must(t, links.LinkSetUp(l))
	if address != "" {
		a, err := netlink.ParseAddr(address)
		must(t, err)
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD // good at once
		}
		must(t, links.AddrAdd(l, a))
	}
}

func (n *network) route(h *host.Host, to, via string) {
	n.t.Helper()
	links, err := h.Links()
	must(n.t, err)
	_, dst, err := net.ParseCIDR(n.net(to))
	must(n.t, err)
	must(n.t, links.RouteAdd(&netlink.Route{Dst: dst, Gw: netip.MustParseAddr(n.at(via)).AsSlice()}))
}

// serve answers every line and every datagram with the node's name, the client's address
// and the length of what came; and health checks.
func (b *backend) serve(t *testing.T, name, vip string) {
	t.Helper()
	tcp, err := b.host.Listen(t.Context(), "tcp", net.JoinHostPort(vip, "80"))
	must(t, err)
	t.Cleanup(func() { _ = tcp.Close() })
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintf(conn, "%s %s\n", name, addressOf(conn.RemoteAddr()))
				}
			}()
		}
	}()
	udp, err := b.host.ListenPacket(t.Context(), "udp", net.JoinHostPort(vip, "53"), false)
	must(t, err)
	t.Cleanup(func() { _ = udp.Close() })
	go func() {
		for buffer := make([]byte, 65536); ; {
			size, client, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(fmt.Appendf(nil, "%s %s %d", name, addressOf(client), size), client)
		}
	}()
	health, err := b.host.Listen(t.Context(), "tcp", ":10256")
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !b.well.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(health) }()
}

func addressOf(a net.Addr) string { return netip.MustParseAddrPort(a.String()).Addr().String() }

// balance runs a balancer until stop is called or the test ends.
func (n *network) balance() (b *Balancer, stop func()) {
	n.t.Helper()
	b = newBalancer(n.config(), n.api)
	return b, n.run(b)
}

func (n *network) config() Config {
	cfg := Defaults()
	cfg.Host, cfg.HealthCheckInterval, cfg.SyncPeriod = n.balancer, 20*time.Millisecond, 100*time.Millisecond
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Pool = []string{n.net("172.30.100.0/24")}
	return cfg
}

// service makes or changes the Service web.
func (n *network) service(change func(*corev1.Service)) {
	n.t.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{
			{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "talk", Port: 53, Protocol: corev1.ProtocolUDP},
		}},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: n.at("172.30.100.1")}}}},
	}
	if change == nil {
		_, err := n.api.CoreV1().Services("default").Create(n.t.Context(), s, metav1.CreateOptions{})
		must(n.t, err)
		return
	}
	change(s)
	_, err := n.api.CoreV1().Services("default").Update(n.t.Context(), s, metav1.UpdateOptions{})
	must(n.t, err)
}

// dial opens a connection and tells who answers on it.
func (n *network) dial(address string) (*session, string, error) {
	conn, err := n.client.Dial(n.t.Context(), "tcp", address)
	if err != nil {
		return nil, "", err
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	s := &session{conn, bufio.NewReader(conn)}
	answer, err := s.ask()
	return s, answer, err
}

type session struct {
	net.Conn
	answers *bufio.Reader
}

func (s *session) ask() (string, error) {
	_ = s.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(s, "who?\n"); err != nil {
		return "", err
	}
	return s.answers.ReadString('\n')
}

// datagram sends one from a socket of its own and returns the answer.
func (n *network) datagram(size int) (string, error) {
	conn, err := n.client.Dial(n.t.Context(), "udp", n.vip(53))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write(make([]byte, size)); err != nil {
		return "", err
	}
	buffer := make([]byte, 1500)
	read, err := conn.Read(buffer)
	return string(buffer[:read]), err
}

func (n *network) eventually(what string, f func() error) {
	n.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("%s: %v", what, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
