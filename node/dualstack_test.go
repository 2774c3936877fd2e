package node

import (
	"fmt"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestStoryDualStack: a Pod has an address of each family, and everybody finds it at both.
func TestStoryDualStack(t *testing.T) {
	c := startClusterOf(t, 2, func(*Config) {}, "node1", "node2")
	node1, node2 := c.nodes["node1"], c.nodes["node2"]
	c.pod("node2", "web", "whoami", hostPort(
		corev1.ContainerPort{ContainerPort: 80, HostPort: 8080}, corev1.ContainerPort{ContainerPort: 53, HostPort: 5353, Protocol: corev1.ProtocolUDP}))
	c.pod("node1", "client", "busybox", func(s *corev1.PodSpec) {
		for _, field := range []string{"status.podIPs", "status.hostIPs"} {
			s.Containers[0].Env = append(s.Containers[0].Env, corev1.EnvVar{
				Name: strings.TrimPrefix(field, "status."), ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: field}}})
		}
	})
	web, client := c.ready("web"), c.ready("client")
	if got := fmt.Sprint(web.Status.PodIPs, web.Status.HostIPs); got != "[{10.244.2.2} {fd00:10:244:2::2}] [{172.30.0.12} {fd00:10:30::12}]" {
		t.Errorf("podIPs and hostIPs: %s", got)
	}
	if got := c.mustExec("node1", "client", "sh", "-c", "echo $podIPs $hostIPs; grep client /etc/hosts"); got !=
		"10.244.1.2,fd00:10:244:1::2 172.30.0.11,fd00:10:30::11\n10.244.1.2\tclient\nfd00:10:244:1::2\tclient\n" {
		t.Errorf("downward API and /etc/hosts: %q", got)
	}
	six := func(host string) string { return "http://[" + host + "]" }
	curl := []string{"curl", "-sSg", "--max-time", "10"}
	webIP, clientIP := web.Status.PodIPs[1].IP, client.Status.PodIPs[1].IP
	for what, row := range map[string]struct{ page, seen string }{
		"a Pod of another node":    {c.mustExec("node1", "client", append(curl, six(webIP))...), clientIP},
		"the Pod itself":           {c.mustExec("node2", "web", append(curl, six(webIP))...), webIP},
		"its node":                 {c.run(node2.host, append(curl, six(webIP))...), "fd00:10:244:2::1"},
		"another node":             {c.run(node1.host, append(curl, six(webIP))...), "fd00:10:30::11"},
		"the host port":            {c.run(c.control, append(curl, six("fd00:10:30::12")+":8080")...), "fd00:10:30::2"},
		"the host port, IPv4":      {c.run(c.control, append(curl, "http://172.30.0.12:8080")...), "172.30.0.2"},
		"the host port, of itself": {c.mustExec("node2", "web", append(curl, six("fd00:10:30::12")+":8080")...), "fd00:10:244:2::1"},
	} {
		_, rest, _ := strings.Cut(row.page, "RemoteAddr: ")
		if host, _, _ := net.SplitHostPort(strings.Split(rest, "\n")[0]); host != row.seen {
			t.Errorf("%s: it saw %q, want %q", what, host, row.seen)
		}
	}
	// Nobody outside of the Pod network has a way back to a Pod.
	control := c.serveAddress(c.control, "[fd00:10:30::2]:80")
	if seen := c.mustExec("node1", "client", append(curl, "http://"+control)...); !strings.Contains(seen, "fd00:10:30::11") {
		t.Errorf("outside of the Pod network the client is %q, want its node", seen)
	}
	c.eventually("UDP", func() error { return askFrom(c, "[fd00:10:30::2]:3000", "[fd00:10:30::12]:5353", webIP) })

	// A restart of the agent keeps both addresses.
	node2.stop()
	c.startAgent(node2)
	c.await("web", "with its addresses", func(p *corev1.Pod) bool {
		return condition(p, corev1.PodReady) == corev1.ConditionTrue && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if again := c.ready("web"); fmt.Sprint(again.Status.PodIPs) != fmt.Sprint(web.Status.PodIPs) {
		t.Errorf("addresses %v became %v", web.Status.PodIPs, again.Status.PodIPs)
	}
	c.pod("node2", "next", "whoami")
	if next := c.ready("next"); fmt.Sprint(next.Status.PodIPs) != "[{10.244.2.3} {fd00:10:244:2::3}]" {
		t.Errorf("the next Pod has %v", next.Status.PodIPs)
	}
	node2.stop()
	if rules := c.run(node2.host, "ip6tables-save", "-t", "nat"); strings.Contains(rules, "CNI-") {
		t.Errorf("rules after the agent's end:\n%s", rules)
	}
}
