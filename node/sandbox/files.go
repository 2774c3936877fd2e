package sandbox

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// DNS is what a node tells its Pods about name resolution.
type DNS struct {
	Servers []string // the cluster's
	Domain  string   // the cluster's
	Node    string   // the node's own resolv.conf, for dnsPolicy Default
}

// maxNameservers is the resolver's limit.
const maxNameservers = 3

// ResolvConf is a Pod's /etc/resolv.conf: the dnsPolicy's settings, then the
// dnsConfig's merged into them.
//
// Kubernetes: upstream appends the node's own search domains to the cluster's.
// Left out, so that a lookup does the same on every machine.
func ResolvConf(pod *corev1.Pod, dns DNS) string {
	var servers, searches, options []string
	switch policy := pod.Spec.DNSPolicy; {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSDefault, pod.Spec.HostNetwork && policy != corev1.DNSClusterFirstWithHostNet:
		servers, searches, options = parseResolvConf(dns.Node)
	default:
		servers = slices.Clone(dns.Servers)
		searches = []string{pod.Namespace + ".svc." + dns.Domain, "svc." + dns.Domain, dns.Domain}
		options = []string{"ndots:5"}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		servers = append(servers, c.Nameservers...)
		searches = append(searches, c.Searches...)
		options = mergeOptions(options, c.Options)
	}
	servers, searches = unique(servers), unique(searches)
	var b strings.Builder
	if len(searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(searches, " "))
	}
	for _, s := range servers[:min(len(servers), maxNameservers)] {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

func parseResolvConf(text string) (servers, searches, options []string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			servers = append(servers, f[1])
		case "search":
			searches = f[1:] // the last one counts
		case "options":
			options = append(options, f[1:]...)
		}
	}
	return servers, searches, options
}

// mergeOptions lets more replace options of the same name.
func mergeOptions(options []string, more []corev1.PodDNSConfigOption) []string {
	for _, o := range more {
		options = slices.DeleteFunc(options, func(old string) bool {
			name, _, _ := strings.Cut(old, ":")
			return name == o.Name
		})
		if o.Value != nil && *o.Value != "" {
			options = append(options, o.Name+":"+*o.Value)
		} else {
			options = append(options, o.Name)
		}
	}
	return options
}

func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// Hostname is the Pod's, and its domain: "" unless the Pod names a subdomain.
// A host name has at most 63 letters and does not end in a dash or dot.
func Hostname(pod *corev1.Pod, clusterDomain string) (name, domain string) {
	name = pod.Name
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	return name, domain
}

// Hosts is a Pod's /etc/hosts, in kubelet's words. nodeHosts is the node's own file,
// with which that of a Pod in the node's network begins.
func Hosts(pod *corev1.Pod, ips []netip.Addr, clusterDomain, nodeHosts string) string {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n" + nodeHosts)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n" +
			"127.0.0.1\tlocalhost\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\n" +
			"fe00::0\tip6-mcastprefix\n" +
			"fe00::1\tip6-allnodes\n" +
			"fe00::2\tip6-allrouters\n")
		name, domain := Hostname(pod, clusterDomain)
		if domain != "" {
			name = name + "." + domain + "\t" + name
		}
		for _, ip := range ips {
			fmt.Fprintf(&b, "%s\t%s\n", ip, name)
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.String()
}
