package node

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func hostPort(ports ...corev1.ContainerPort) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.Containers[0].Ports = ports }
}

func TestStoryHostPorts(t *testing.T) {
	c := startCluster(t, "node1")
	node := c.nodes["node1"]
	c.pod("node1", "web", "whoami", hostPort(
		corev1.ContainerPort{ContainerPort: 80, HostPort: 8080, Protocol: corev1.ProtocolTCP},
		corev1.ContainerPort{ContainerPort: 81, HostPort: 8081, HostIP: "127.0.0.1", Protocol: corev1.ProtocolTCP},
		corev1.ContainerPort{ContainerPort: 53, HostPort: 5353, Protocol: corev1.ProtocolUDP},
	))
	c.pod("node1", "client", "busybox")
	web, client := c.ready("web"), c.ready("client")

	seen := func(page string) string { // as the Pod sees it
		_, rest, _ := strings.Cut(page, "RemoteAddr: ")
		host, _, _ := net.SplitHostPort(strings.Split(rest, "\n")[0])
		return host
	}
	curl := []string{"curl", "-sS", "--max-time", "5"}
	for from, got := range map[string]string{
		"172.30.0.2":           c.run(c.control, append(curl, "http://172.30.0.11:8080")...), // keeps its address
		client.Status.PodIP:    c.mustExec("node1", "client", append(curl, "http://172.30.0.11:8080")...),
		"172.30.0.11":          c.run(node.host, append(curl, "http://172.30.0.11:8080")...),
		"10.244.1.1":           c.mustExec("node1", "web", append(curl, "http://172.30.0.11:8080")...), // itself
		"10.244.1.1 (on lo)":   c.run(node.host, append(curl, "http://127.0.0.1:8080")...),
		"10.244.1.1 (by port)": c.run(node.host, append(curl, "http://127.0.0.1:8081")...),
	} {
		if want, _, _ := strings.Cut(from, " "); seen(got) != want {
			t.Errorf("from %s: %q", from, got)
		}
	}
	if out, err := c.control.Command(c.ctx, "curl", "-sS", "--max-time", "5", "http://172.30.0.11:8081").Output(); err == nil {
		t.Errorf("a port of the loopback answers others: %q", out)
	}
	c.eventually("UDP", func() error { return ask(c, "172.30.0.11:5353", web.Status.PodIP) })

	// Another Pod cannot have them as well; one that comes later can.
	c.pod("node1", "clash", "whoami", hostPort(corev1.ContainerPort{ContainerPort: 80, HostPort: 8080}))
	clash := c.await("clash", "rejected", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if clash.Status.Reason != "NodePorts" ||
		clash.Status.Message != "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports" {
		t.Errorf("%s: %s", clash.Status.Reason, clash.Status.Message)
	}
	c.delete("web", 0)
	c.awaitGone("web")
	c.pod("node1", "next", "whoami", hostPort(
		corev1.ContainerPort{ContainerPort: 80, HostPort: 8080}, corev1.ContainerPort{ContainerPort: 53, HostPort: 5353, Protocol: corev1.ProtocolUDP}))
	next := c.ready("next")
	if page := c.run(c.control, append(curl, "http://172.30.0.11:8080")...); !strings.Contains(page, "Hostname: next") {
		t.Errorf("page %q", page)
	}
	c.eventually("UDP", func() error { return ask(c, "172.30.0.11:5353", next.Status.PodIP) })
	node.stop()
	if rules := c.run(node.host, "iptables-save", "-t", "nat"); strings.Contains(rules, "HOSTPORT") {
		t.Errorf("rules after the agent's end:\n%s", rules)
	}
}

// ask sends a datagram, from the same port each time, and looks who answers.
func ask(c *cluster, address, want string) error { return askFrom(c, "172.30.0.2:3000", address, want) }

func askFrom(c *cluster, own, address, want string) error {
	conn, err := c.control.ListenPacket(c.ctx, "udp", own, false)
	if err != nil {
		return err
	}
	defer conn.Close()
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo([]byte("who"), to); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	answer := make([]byte, 1<<10)
	n, _, err := conn.ReadFrom(answer)
	if err != nil && err != io.EOF {
		return err
	}
	if !strings.Contains(string(answer[:n]), "IP: "+want+"\n") {
		return fmt.Errorf("answer %q", answer[:n])
	}
	return nil
}
