package sandbox

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func podWith(change func(*corev1.PodSpec)) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace = "web-0", "shop"
	pod.Spec.DNSPolicy = corev1.DNSClusterFirst
	change(&pod.Spec)
	return pod
}

func TestResolvConf(t *testing.T) {
	dns := DNS{Servers: []string{"10.96.0.10"}, Domain: "cluster.local", Node: "# by hand\nsearch example.org\nnameserver 192.0.2.1\noptions timeout:1\n"}
	const cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
	const node = "search example.org\nnameserver 192.0.2.1\noptions timeout:1\n"
	for name, row := range map[string]struct {
		change func(*corev1.PodSpec)
		want   string
	}{
		"ClusterFirst":             {func(*corev1.PodSpec) {}, cluster},
		"Default":                  {func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault }, node},
		"host network":             {func(s *corev1.PodSpec) { s.HostNetwork = true }, node},
		"ClusterFirstWithHostNet":  {func(s *corev1.PodSpec) { s.HostNetwork, s.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet }, cluster},
		"None without a dnsConfig": {func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSNone }, ""},
		"None": {func(s *corev1.PodSpec) {
			s.DNSPolicy = corev1.DNSNone
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.9"}, Searches: []string{"a.example"}}
		}, "search a.example\nnameserver 192.0.2.9\n"},
		"merged": {func(s *corev1.PodSpec) {
			s.DNSConfig = &corev1.PodDNSConfig{
				Nameservers: []string{"192.0.2.1", "10.96.0.10", "192.0.2.2", "192.0.2.3"},
				Searches:    []string{"cluster.local", "more.example"},
				Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("2")}, {Name: "edns0"}},
			}
		}, "search shop.svc.cluster.local svc.cluster.local cluster.local more.example\n" +
			"nameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2 edns0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ResolvConf(podWith(row.change), dns); got != row.want {
				t.Errorf("got\n%swant\n%s", got, row.want)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	ip := netip.MustParseAddr("10.244.1.5")
	for name, row := range map[string]struct {
		change func(*corev1.PodSpec)
		starts string
		ends   string
	}{
		"plain":     {func(*corev1.PodSpec) {}, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n", "\n10.244.1.5\tweb-0\n"},
		"subdomain": {func(s *corev1.PodSpec) { s.Subdomain = "peers" }, "#", "\n10.244.1.5\tweb-0.peers.shop.svc.cluster.local\tweb-0\n"},
		"aliases": {func(s *corev1.PodSpec) {
			s.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"a", "b"}}}
		}, "#", "\n10.244.1.5\tweb-0\n\n# Entries added by HostAliases.\n192.0.2.7\ta\tb\n"},
		"host network": {func(s *corev1.PodSpec) { s.HostNetwork = true }, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n", "127.0.0.1 node\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Hosts(podWith(row.change), []netip.Addr{ip}, "cluster.local", "127.0.0.1 node\n")
			if !strings.HasPrefix(got, row.starts) || !strings.HasSuffix(got, row.ends) {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

func TestHostname(t *testing.T) {
	long := podWith(func(*corev1.PodSpec) {})
	long.Name = strings.Repeat("a", 62) + "-b"
	if name, _ := Hostname(long, "x"); name != strings.Repeat("a", 62) {
		t.Errorf("a long name became %q", name)
	}
}
