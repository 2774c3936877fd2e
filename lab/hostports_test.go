package lab

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/host"
)

func TestWantedPorts(t *testing.T) {
	port := func(number, nodePort int32, protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Port: number, NodePort: nodePort, Protocol: protocol}
	}
	for name, row := range map[string]struct {
		address, annotation string
		ports               []corev1.ServicePort
		want                string // port -> number (~ if another will do) -> target
	}{
		"a ClusterIP":       {"", "", []corev1.ServicePort{port(80, 0, "TCP")}, ""},
		"NodePorts":         {"", "", []corev1.ServicePort{port(80, 30080, "TCP"), port(53, 30053, "UDP")}, "53/UDP 30053 172.30.0.11:30053, 80/TCP 30080 172.30.0.11:30080"},
		"SCTP":              {"", "", []corev1.ServicePort{port(80, 30080, "SCTP")}, ""},
		"a balancer":        {"172.30.100.1", "", []corev1.ServicePort{port(80, 30080, "TCP")}, "80/TCP 30080 172.30.100.1:80"},
		"another's address": {"203.0.113.1", "", []corev1.ServicePort{port(80, 30080, "TCP")}, "80/TCP 30080 172.30.0.11:30080"},
		"no NodePorts":      {"172.30.100.1", "", []corev1.ServicePort{port(80, 0, "TCP")}, "80/TCP ~0 172.30.100.1:80"},
		"no NodePorts, and an earlier choice": {"172.30.100.1", "80/TCP=127.0.0.1:40001,81/TCP=127.0.0.1:40002",
			[]corev1.ServicePort{port(80, 0, "TCP"), port(80, 0, "UDP")}, "80/TCP ~40001 172.30.100.1:80, 80/UDP ~0 172.30.100.1:80"},
		"an annotation of somebody else's": {"172.30.100.1", "80/TCP=0.0.0.0:22,,=,80/TCP=x",
			[]corev1.ServicePort{port(80, 0, "TCP")}, "80/TCP ~0 172.30.100.1:80"},
	} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{localhostAnnotation: row.annotation}}}
		s.Spec.Ports = row.ports
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: row.address}}
		var texts []string
		for key, w := range wantedPorts([]*corev1.Service{s}) {
			any := map[bool]string{true: "~"}[w.any]
			texts = append(texts, fmt.Sprintf("%s %s%d %s", portText(key), any, w.number, w.target))
		}
		slices.Sort(texts)
		if got := strings.Join(texts, ", "); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

// TestForwardUDP: each client gets its own answers, and nothing is left at the end.
func TestForwardUDP(t *testing.T) {
	var here *host.Host
	server, err := here.ListenPacket(t.Context(), "udp", "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	seen := make(chan map[string]bool, 1)
	go func() {
		clients := map[string]bool{}
		defer func() { seen <- clients }()
		for buffer := make([]byte, 1500); ; {
			n, client, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			clients[client.String()] = true
			_, _ = server.WriteTo(append([]byte("echo "), buffer[:n]...), client)
		}
	}()
	f, err := forwardUDP(t.Context(), 0, nil, netip.MustParseAddrPort(server.LocalAddr().String()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		conn, err := net.Dial("udp", localhost(f.number))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		for j := range 2 {
			fmt.Fprintf(conn, "%d.%d", i, j)
			buffer := make([]byte, 1500)
			n, err := conn.Read(buffer)
			if want := fmt.Sprintf("echo %d.%d", i, j); err != nil || string(buffer[:n]) != want {
				t.Fatalf("%q, %v, want %q", buffer[:n], err, want)
			}
		}
	}
	f.close() // returns when everything has ended
	_ = server.Close()
	if clients := <-seen; len(clients) != 3 {
		t.Errorf("the server saw %v", slices.Collect(maps.Keys(clients)))
	}
	if again, err := here.ListenPacket(t.Context(), "udp", localhost(f.number), false); err != nil {
		t.Errorf("the port is still taken: %v", err)
	} else {
		_ = again.Close()
	}
}
